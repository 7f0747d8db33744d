"""Linear measurements of pictures, each with its exact adjoint: what inverse problems invert."""

from deqlab.nn.measurements.base import Measurement
from deqlab.nn.measurements.blur import Blur, gaussian_kernel
from deqlab.nn.measurements.mask import Mask

__all__ = ["Blur", "Mask", "Measurement", "gaussian_kernel"]
