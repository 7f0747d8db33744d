"""Experiments on the kernels of DEQs."""
