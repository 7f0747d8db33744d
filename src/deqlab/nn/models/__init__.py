"""Networks put together: classifiers with a DEQ in them, and the explicit twins to compare with."""

from deqlab.nn.models.mlp import mlp
from deqlab.nn.models.multiscale import Resolution, multiscale
from deqlab.nn.models.resnet import ResidualBlock, resnet

__all__ = ["ResidualBlock", "Resolution", "mlp", "multiscale", "resnet"]
