"""A run's folder: its files, typed and atomic, and what may be resumed or read back from them.

One module a file or decision: `manifest`, `metrics`, `checkpoints`, `continuation`, `lock`."""
