"""The game: objective, optimizers, the training state and one pure training step.

Nothing here depends on a device, a file or a clock."""
