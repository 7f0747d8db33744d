"""Experiments on the kernels of DEQs, the data they look at, and `deqlab kernel`."""
