"""What makes a DEQ well-posed, measured: functions on maps f and points z."""

from deqlab.stability import (certificates)
from deqlab.stability.certificate import (Certificate)
from deqlab.stability.certificates import (*)
from deqlab.stability.convolutions import (convolution_bound)
from deqlab.stability.slopes import (Slope, slope_of)
from deqlab.stability.spectral import (is_attracting, spectral_radius)

__all__ = ["Certificate", "Slope", "convolution_bound", "is_attracting", "slope_of", "spectral_radius",]
