"""What a person looks at: sample grids, GIFs, plots, the progress bar, TensorBoard events.

Arrays and records in, pictures and lines out."""
