"""Networks put together: those with a DEQ in them, and explicit twins to compare with."""

from deqlab.nn.models.conv import ConvFrame, conv_deq, conv_twin
from deqlab.nn.models.mlp import mlp
from deqlab.nn.models.monotone import monotone
from deqlab.nn.models.multiscale import Resolution, multiscale
from deqlab.nn.models.resnet import ResidualBlock, resnet
from deqlab.nn.models.transformer import (
    Transformer,
    TransformerLayers,
    equilibrium_transformer,
    explicit_transformer,
    layers_of_equal_flops,
    transformer_twin,
)
from deqlab.nn.models.twins import training_flops
from deqlab.nn.transformer_block import TransformerBlock

__all__ = [
    "ConvFrame",
    "ResidualBlock",
    "Resolution",
    "Transformer",
    "TransformerBlock",
    "TransformerLayers",
    "conv_deq",
    "conv_twin",
    "equilibrium_transformer",
    "explicit_transformer",
    "layers_of_equal_flops",
    "mlp",
    "monotone",
    "multiscale",
    "resnet",
    "training_flops",
    "transformer_twin",
]
