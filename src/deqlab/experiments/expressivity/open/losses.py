"""Test losses of the arms of an open problem: which are equal, which have learned the target.

Losses below the rounding of the target are equal. On a sawtooth of slope 2^k an input that is
rounded by eps moves the output by 2^k eps, and networks of this size by a few times as much; on a
ramp of slope 2^d what is a difference of two states of size 2^d is known to 2^d eps:

    least = max(1e-26, (4 2^k eps)^2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from deqlab.experiments.base import Row
from deqlab.experiments.comparing import evidence
from deqlab.experiments.comparing.evidence import select

LEAST = 1e-26
"""The rounding of sums: losses below it are equal at any slope."""

WORST = 1e250
"""What a loss counts as that is not finite."""

LEARNED = 1e-6
"""A test loss below it has learned the target; constants have 0.083 on sawtooths, more on ramps."""

CONSTRUCTION = "construction"
"""The route that begins near exact networks, the DEQ and the narrowest FNN: it is not judged."""


@dataclass(frozen=True)
class ArmLosses:
    """The summaries of one arm, one of each seed."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """One of the summaries: label, route and cost of a step are the same in all."""
        return self.rows[0]

    @property
    def losses(self) -> dict[int, float]:
        """Test losses by seed."""
        found = {row["seed"]: row["test_loss"] for row in self.rows}
        # What is not finite is null on disk.
        return {s: v if v is not None and math.isfinite(v) else WORST for s, v in found.items()}

    @property
    def median(self) -> float:
        """The median test loss."""
        return median(self.losses.values())

    @property
    def learned(self) -> list[Row]:
        """The summaries of seeds whose network has learned the target."""
        return [row for row in self.rows if self.losses[row["seed"]] < LEARNED]

    @property
    def converged(self) -> float:
        """The least share of test points at their equilibrium; FNNs have no other."""
        return evidence.least_converged(self.rows)

    def told(self) -> str:
        """Return losses in words."""
        spread = evidence.with_range(self.losses.values(), "{:.2g}".format).rstrip(")")
        return f"{spread}; {len(self.learned)} of {len(self.rows)} below {LEARNED:g})"


def arms_of(rows: Sequence[Row], **fields: object) -> list[ArmLosses]:
    """Return the arms whose summaries have these values of fields."""
    found: dict[str, list[Row]] = {}
    for row in select(rows, "summary", **fields):
        found.setdefault(row["arm"], []).append(row)
    return [ArmLosses(tuple(each)) for each in found.values()]


def judged(rows: Sequence[Row], family: str) -> list[ArmLosses]:
    """Return the arms of a family, "deq" or "fnn", whose route does not start at the answer."""
    return [arm for arm in arms_of(rows, family=family) if arm.first["route"] != CONSTRUCTION]


def floor(log2_slope: int) -> float:
    """Return the loss below which all losses are equal."""
    return float(max(LEAST, (4 * 2.0**log2_slope * 2.0**-52) ** 2))


def best_of(arms: Sequence[ArmLosses], least: float = 0.0) -> ArmLosses:
    """Return the arm of least median loss, the first of those below `least`."""
    return min(arms, key=lambda arm: max(arm.median, least))
