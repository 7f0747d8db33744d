"""What makes a DEQ well-posed, measured: functions on maps f and points z."""

from deqlab.stability.certificate import Certificate
from deqlab.stability.convolutions import convolution_bound
from deqlab.stability.spectral import is_attracting, spectral_radius

__all__ = ["Certificate", "convolution_bound", "is_attracting", "spectral_radius"]
