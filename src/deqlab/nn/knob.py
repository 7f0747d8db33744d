"""The one number by which a cell scales its feedback, for what keeps a DEQ at its equilibrium.

At 0 f(z, x) does not depend on z, so that every cell that has a knob can be made well-posed by
turning it down. It is a buffer: it is saved with the weights and no optimiser touches it.
"""

from dataclasses import dataclass

from torch import Tensor

from deqlab.arguments import check_number, check_positive


@dataclass(frozen=True, kw_only=True, eq=False)
class Knob:
    """A number that a cell lets others set.

    Attributes:
        name: What the cell calls it.
        value: The buffer that holds it, (), at least 0; it is changed in place.
        highest: The largest value that the cell allows, finite.
    """

    name: str
    value: Tensor
    highest: float


def check_gain(gain: float, highest: float) -> None:
    """Raise unless a knob can begin at `gain` and go up to `highest`.

    Raises:
        TypeError: One is no number.
        ValueError: `gain` is below 0 or above `highest`, or `highest` is not finite.
    """
    check_number("gain", gain)
    check_positive("highest", highest)
    if not 0 <= gain <= highest:
        raise ValueError(f"gain must be between 0 and highest = {highest}, got {gain}")
