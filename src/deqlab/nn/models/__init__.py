"""Networks put together: classifiers with a DEQ in them, and the explicit twins to compare with."""

from deqlab.nn.models.conv import ConvFrame, conv_deq, conv_twin
from deqlab.nn.models.mlp import mlp
from deqlab.nn.models.multiscale import Resolution, multiscale
from deqlab.nn.models.resnet import ResidualBlock, resnet
from deqlab.nn.models.twins import training_flops

__all__ = [
    "ConvFrame",
    "ResidualBlock",
    "Resolution",
    "conv_deq",
    "conv_twin",
    "mlp",
    "multiscale",
    "resnet",
    "training_flops",
]
