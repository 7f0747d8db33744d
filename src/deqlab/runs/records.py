"""What the files of a run hold: rows, jobs and a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

FORMAT = 1
"""The number of the format of a run directory."""

RESULTS = "results"
"""The folder of what jobs leave beside their rows."""

Row: TypeAlias = dict[str, Any]
"""One line of rows.jsonl: plain JSON values by field name."""

Outcome: TypeAlias = Literal[
    "holds", "holds partly", "does not hold here", "undecided", "not judged"
]
"""What becomes of a claim; "not judged" where the run was not made to test it."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One arm at one seed.

    Attributes:
        arm: A short name, unique in the experiment.
        seed: The seed.
        settings: What else is needed to build the arm: plain values, which are not on disk.
        folder: Where the job may keep what it needs to go on after an interruption, made by whoever
            writes there first, and removed when its rows are written; None if nowhere. Its rows do
            not depend on it.
    """

    arm: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    @property
    def results(self) -> Path | None:
        """Where files that the job leaves for good may be written; None if nowhere.

        They are in `results/ARM-SEED` of the run once its rows are.
        """
        return None if self.folder is None else self.folder / RESULTS


Result: TypeAlias = Literal["win", "tie", "loss", "neither"]
"""How an arm fares against another; "neither" learns."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """How far the arm that a claim is about is ahead of another, paired by seed.

    Attributes:
        label: What people call the other arm.
        group: What it matches, such as "equal FLOPs per step"; may be empty.
        result: "win" if all of the interval is on the side of the claim's arm, "loss" if all of it
            is on the other; "neither" where neither of the two learns.
        estimate: The lead, in the unit of the contest.
        low: Lower end of its interval.
        high: Upper end of its interval.
        confidence: Of the interval; 0 for a single seed, which has none.
    """

    label: str
    group: str
    result: Result
    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One arm against its rivals: what a forest plot shows, and what follows.

    Attributes:
        unit: What the leads are, such as "test loss of the rival / of the DEQ".
        neutral: The lead of a tie: 1 of ratios, which stand on a log axis, 0 of differences.
        rivals: One bar each.
        advice: What to do, in a sentence.
        seeds: How many more seeds would decide, in a sentence.
    """

    unit: str
    neutral: float
    rivals: tuple[Rival, ...]
    advice: str
    seeds: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to the claim of a run.

    Attributes:
        outcome: The answer in two words.
        sentence: The answer in one sentence, with numbers.
        details: More sentences.
        contest: The rivals, where the claim is about one arm against others.
    """

    outcome: Outcome
    sentence: str
    details: tuple[str, ...] = ()
    contest: Contest | None = None
