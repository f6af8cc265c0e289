"""The networks: convolutions, layers with PyTorch's semantics, and the DCGAN pair.

`functional` turns NNX modules into pure functions of plain dicts."""
