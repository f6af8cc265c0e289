"""Images: sources, decoding, and the order in which training steps see them.

Every source returns an `ImageDataset`; `order` chooses each batch from (seed, step)."""
