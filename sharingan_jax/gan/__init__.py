"""The game: losses, optimizers, the training state and one pure training step.

Nothing here knows a device, a file or a clock."""
