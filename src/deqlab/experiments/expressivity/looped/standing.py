"""Who is ahead of FNNs at one sawtooth and budget, and whether that is an advantage of loops.

FNNs are looked at twice: those of equal parameters, and those that match a loop in FLOPs a step. An
arm is ahead if it beats each of these whose FLOPs are not more than its own, and behind if it loses
to one; two arms are compared seed by seed in the ratio of their losses (`paired_interval`). At
either cost the answer is

- none, if no arm learns more than nine tenths of a constant;
- no, if a DEQ at its equilibrium is ahead; if a loop that is ahead is at its equilibrium as it was
  trained, or stays ahead solved to the end; or if every loop is behind, for then there is no
  advantage;
- yes, if a loop is ahead, off its equilibrium, and beats every DEQ that is at its own, of which
  there must be one;
- none otherwise: the intervals do not decide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from deqlab.experiments.base import Row
from deqlab.experiments.comparing.comparison import LEARNED
from deqlab.experiments.comparing.evidence import WELL_SOLVED, arms_of, by_seed, select
from deqlab.experiments.comparing.matching import VIEWS, WITHIN
from deqlab.intervals import paired_interval


@dataclass(frozen=True)
class Arm:
    """One arm at one sawtooth and budget.

    Attributes:
        label: What people call it.
        matching: In what an FNN matches the loops, one of VIEWS; None for others.
        rows: Its points, one for each seed.
        constant: The loss of the best constant.
    """

    label: str
    matching: str | None
    rows: tuple[Row, ...]
    constant: float

    @property
    def family(self) -> str:
        """What it is: "loop", "deq" or "fnn"."""
        return str(self.rows[0]["family"])

    @property
    def flops(self) -> float:
        """FLOPs of a step, the median."""
        return float(median(row["flops_per_step"] for row in self.rows))

    @property
    def held(self) -> bool:
        """Whether it is at its equilibrium as it was trained, at every seed."""
        return self.least("converged") >= WELL_SOLVED

    def least(self, field: str) -> float:
        """Return the share of converged points in the worst seed."""
        return min(float(row[field] or 0.0) for row in self.rows)

    def losses(self, field: str = "test_loss") -> dict[int, float]:
        """Return losses by seed; one that is null on disk is the worst there is."""
        return by_seed(self.rows, field, kind="point", missing=math.inf)

    def median(self, field: str = "test_loss") -> float:
        """Return the median loss."""
        return median(self.losses(field).values())

    def learned(self, field: str = "test_loss") -> bool:
        """Whether the median loss is below nine tenths of a constant's."""
        return self.median(field) <= LEARNED * self.constant

    def against(self, other: "Arm", field: str = "test_loss") -> int:
        """Return 1 if its losses are smaller, -1 if they are larger, 0 if neither is sure.

        Between two networks that have learned nothing there is no winner, however sure the
        difference.
        """
        if not (self.learned(field) or other.learned()):
            return 0
        ours, theirs = self.losses(field), other.losses()
        both = [seed for seed in ours if seed in theirs]
        return paired_interval([_log(theirs[s]) - _log(ours[s]) for s in both]).sign if both else 0

    def ahead(self, every: Sequence["Arm"], field: str = "test_loss") -> int:
        """Return 1 if it beats all FNNs that cost no more, -1 if it loses to one, else 0."""
        rivals = [arm for arm in every if arm.family == "fnn"]
        rivals = [arm for arm in rivals if arm.flops <= (1 + WITHIN) * self.flops]
        return min((self.against(arm, field) for arm in rivals), default=0)


@dataclass(frozen=True)
class Answer:
    """What is found at one sawtooth and budget.

    Attributes:
        holds: Whether the advantage is one of loops; None where that is not decided.
        why: The end of a sentence.
    """

    holds: bool | None
    why: str


def arms_at(rows: Sequence[Row], log2_regions: int, budget: int, constant: float) -> list[Arm]:
    """Return the arms of one sawtooth and budget, in the order of the rows."""
    summaries = arms_of(rows)
    found: dict[str, list[Row]] = {}
    for row in select(rows, "point", log2_regions=log2_regions, budget=budget):
        found.setdefault(row["arm"], []).append(row)
    arms = []
    for name, of in found.items():
        label, matching = summaries[name]["label"], summaries[name]["matching"]
        view = next((view for view in VIEWS if (matching or "").startswith(view)), None)
        arms.append(Arm(label, view, tuple(of), constant))
    return arms


def at_equal(view: str, arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms without the FNNs that match the loops in something else."""
    return [arm for arm in arms if arm.family != "fnn" or arm.matching == view]


def answer(arms: Sequence[Arm]) -> Answer:
    """Return whether the advantage over the FNNs among the arms is one of loops."""
    if not any(arm.learned() for arm in arms):
        return Answer(None, "no arm learns more than nine tenths of a constant")
    loops = [arm for arm in arms if arm.family == "loop"]
    deqs = [arm for arm in arms if arm.family == "deq" and arm.held]
    for deq in deqs:
        if deq.ahead(arms) > 0:
            return Answer(False, f"{deq.label}, at its equilibrium, is ahead of the FNNs itself")
    for loop in (arm for arm in loops if arm.ahead(arms) > 0):
        if loop.held:
            return Answer(False, f"{loop.label} is ahead of the FNNs, at its equilibrium")
        kept = loop.least("solved_converged") >= WELL_SOLVED
        if kept and loop.ahead(arms, "solved_loss") > 0:
            return Answer(False, f"{loop.label} stays ahead of the FNNs solved to the end")
    if loops and all(loop.ahead(arms) < 0 for loop in loops):
        return Answer(False, "there is no advantage, for every loop loses to an FNN")
    winners = [arm for arm in loops if arm.ahead(arms) > 0]
    if not winners:
        return Answer(None, "no loop is surely ahead of all FNNs, nor are all behind")
    best = min(winners, key=Arm.median)
    if not deqs:
        return Answer(None, f"{best.label} is ahead, and no DEQ is at its equilibrium to compare")
    if any(best.against(deq) < 1 for deq in deqs):
        return Answer(None, f"{best.label} is ahead of the FNNs, but not surely of the DEQs")
    return Answer(
        True,
        f"the advantage is one of truncated loops: {best.label} is ahead of the FNNs as trained, "
        "off its equilibrium, and no DEQ at its own is",
    )


def _log(loss: float) -> float:
    return math.log(max(loss, 1e-300))
