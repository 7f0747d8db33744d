"""Cells: the maps f(z, x) whose fixed point a DEQ computes, one file each; see `base`."""

from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.concave import ConcaveCell
from deqlab.nn.cells.constraints import InfinityNorm, SpectralNorm, Triangular, Unconstrained
from deqlab.nn.cells.conv import ConvCell
from deqlab.nn.cells.coordinates import FilterCell, SineCell
from deqlab.nn.cells.data_consistency import DataConsistencyCell
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.cells.fourier import FourierCell
from deqlab.nn.cells.gradient_step import GradientStepCell
from deqlab.nn.cells.graph import ImplicitGraphCell, PageRankCell
from deqlab.nn.cells.linear_graph import LinearGraphCell
from deqlab.nn.cells.lipschitz import LipschitzCell
from deqlab.nn.cells.monotone import MonotoneCell
from deqlab.nn.cells.monotone_conv import MonotoneConvCell
from deqlab.nn.cells.monotone_tiers import MonotoneTiersCell
from deqlab.nn.cells.multiscale import MultiscaleCell
from deqlab.nn.cells.operator_norm import OperatorNorm
from deqlab.nn.cells.proximal_gradient import ProximalGradientCell
from deqlab.nn.cells.recall import RecallCell
from deqlab.nn.cells.recurrent import RecurrentCell
from deqlab.nn.cells.transformer import TransformerCell

__all__ = [
    "Cell",
    "ConcaveCell",
    "ConvCell",
    "DataConsistencyCell",
    "DenseCell",
    "FilterCell",
    "FourierCell",
    "GradientStepCell",
    "ImplicitGraphCell",
    "InfinityNorm",
    "LinearGraphCell",
    "LipschitzCell",
    "MonotoneCell",
    "MonotoneConvCell",
    "MonotoneTiersCell",
    "MultiscaleCell",
    "OperatorNorm",
    "PageRankCell",
    "Prepared",
    "ProximalGradientCell",
    "RecallCell",
    "RecurrentCell",
    "SineCell",
    "SpectralNorm",
    "TransformerCell",
    "Triangular",
    "Unconstrained",
]
