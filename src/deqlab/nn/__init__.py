"""Modules: cells, their constraints, the DEQ layer, and explicit networks to compare with."""

from deqlab.nn.cells import Cell, DenseCell
from deqlab.nn.constraints import SpectralNorm, Triangular, Unconstrained
from deqlab.nn.deq import DEQ
from deqlab.nn.explicit import mlp
from deqlab.nn.monotone import MonotoneCell
from deqlab.nn.multiscale import MultiscaleCell, Resolution, multiscale
from deqlab.nn.resnet import ResidualBlock, resnet

__all__ = [
    "DEQ",
    "Cell",
    "DenseCell",
    "MonotoneCell",
    "MultiscaleCell",
    "ResidualBlock",
    "Resolution",
    "SpectralNorm",
    "Triangular",
    "Unconstrained",
    "mlp",
    "multiscale",
    "resnet",
]
