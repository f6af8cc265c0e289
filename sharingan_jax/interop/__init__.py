"""Exchange with other programs: PyTorch weights in and out, replay traces, StableHLO samplers.

`tensor_table` names every tensor here and in the PyTorch original."""
