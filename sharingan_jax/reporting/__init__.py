"""What a person looks at: sample grids, GIFs, plots, the progress bar, TensorBoard events.

It takes arrays and records, and makes images and lines of text."""
