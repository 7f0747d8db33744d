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

Outcome: TypeAlias = Literal["holds", "holds partly", "does not hold here", "undecided"]

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


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to the claim of a run.

    Attributes:
        outcome: The answer in two words.
        sentence: The answer in one sentence, with numbers.
        details: More sentences.
    """

    outcome: Outcome
    sentence: str
    details: tuple[str, ...] = ()
