"""What networks can represent: exact constructions, counted linear regions, and lower bounds.

`deqlab.expressivity.search` trains small networks to such functions.
"""

from deqlab.expressivity.bounds import (
    largest_infinity_norm,
    largest_pieces,
    smallest_depth,
    smallest_infinity_norm,
    smallest_width,
)
from deqlab.expressivity.constructions import (
    ReadoutDEQ,
    narrow_sawtooth,
    sawtooth_fnn,
    steep_ramp,
    wide_sawtooth,
)
from deqlab.expressivity.equilibrium import equilibrium_pieces
from deqlab.expressivity.layered import layered_pieces
from deqlab.expressivity.pieces import Pieces
from deqlab.expressivity.sampled import sampled_regions

__all__ = [
    "Pieces",
    "ReadoutDEQ",
    "equilibrium_pieces",
    "largest_infinity_norm",
    "largest_pieces",
    "layered_pieces",
    "narrow_sawtooth",
    "sampled_regions",
    "sawtooth_fnn",
    "smallest_depth",
    "smallest_infinity_norm",
    "smallest_width",
    "steep_ramp",
    "wide_sawtooth",
]
