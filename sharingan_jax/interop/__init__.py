"""PyTorch weights in and out, replay traces, and portable StableHLO samplers.

`tensor_table` names every tensor on both sides."""
