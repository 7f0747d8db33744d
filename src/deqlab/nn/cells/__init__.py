"""Cells: the maps f(z, x) whose fixed point a DEQ computes, one file each; see `base`."""

from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import SpectralNorm, Triangular, Unconstrained
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.cells.monotone import MonotoneCell
from deqlab.nn.cells.multiscale import MultiscaleCell

__all__ = [
    "Cell",
    "DenseCell",
    "MonotoneCell",
    "MultiscaleCell",
    "Prepared",
    "SpectralNorm",
    "Triangular",
    "Unconstrained",
]
