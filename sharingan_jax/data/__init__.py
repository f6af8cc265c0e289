"""Images: where they come from, how they are decoded, and which of them each step sees.

A source ends as an `ImageDataset`; `order` decides each batch from (seed, step)."""
