"""What makes a DEQ well-posed, measured: functions on maps f and points z."""

from deqlab.stability.spectral import is_attracting, spectral_radius

__all__ = ["is_attracting", "spectral_radius"]
