"""What makes a DEQ well-posed, measured: functions on maps f and points z."""

from deqlab.stability.spectral import spectral_radius

__all__ = ["spectral_radius"]
