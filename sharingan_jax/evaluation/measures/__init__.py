"""Measures: arrays in, floats out. Each docstring gives the formula, the range and the source.

To add one, write a function here and a line in `evaluation/evaluate.py`."""
