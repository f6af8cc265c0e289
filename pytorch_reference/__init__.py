"""The published system in PyTorch, which tests, benchmarks and experiments compare ours with. Needs torch.

`oracle` is the system, `replay` runs both systems step by step, `cuda_graph` is the implementation that is fastest on a GPU.
"""
