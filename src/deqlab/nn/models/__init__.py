"""Networks put together: those with a DEQ in them, and explicit twins to compare with."""

from deqlab.nn.models.conv import ConvFrame, conv_deq, conv_twin
from deqlab.nn.models.coordinates import Field, InjectedLayers, sinusoidal_net
from deqlab.nn.models.fourier import NeuralOperator, fourier_deq, fourier_net
from deqlab.nn.models.graph import (
    GraphConvolutions,
    GraphReadout,
    PredictThenPropagate,
    SimpleGraphConvolution,
    implicit_graph_net,
    pagerank_deq,
)
from deqlab.nn.models.hybrid import Hybrid, hybrid_transformer
from deqlab.nn.models.mlp import mlp
from deqlab.nn.models.monotone import monotone
from deqlab.nn.models.multiscale import Resolution, multiscale
from deqlab.nn.models.recall import Positions, RecallLayers, explicit_recall_net, recall_net
from deqlab.nn.models.resnet import ResidualBlock, resnet
from deqlab.nn.models.transformer import (
    Transformer,
    TransformerLayers,
    equilibrium_transformer,
    explicit_transformer,
)
from deqlab.nn.models.transformer_twins import layers_of_equal_flops, transformer_twin
from deqlab.nn.models.twins import training_flops
from deqlab.nn.transformer_block import TransformerBlock

__all__ = [
    "ConvFrame",
    "Field",
    "GraphConvolutions",
    "GraphReadout",
    "Hybrid",
    "InjectedLayers",
    "NeuralOperator",
    "Positions",
    "PredictThenPropagate",
    "RecallLayers",
    "ResidualBlock",
    "Resolution",
    "SimpleGraphConvolution",
    "Transformer",
    "TransformerBlock",
    "TransformerLayers",
    "conv_deq",
    "conv_twin",
    "equilibrium_transformer",
    "explicit_recall_net",
    "explicit_transformer",
    "fourier_deq",
    "fourier_net",
    "hybrid_transformer",
    "implicit_graph_net",
    "layers_of_equal_flops",
    "mlp",
    "monotone",
    "multiscale",
    "pagerank_deq",
    "recall_net",
    "resnet",
    "sinusoidal_net",
    "training_flops",
    "transformer_twin",
]
