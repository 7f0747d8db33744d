"""What a sitting at runs tells while it lasts: on a terminal as it goes, else a line now and then.

All lines fit 80 columns where they can. Time left is an estimate: that jobs to come take as long as
those that were done in this sitting, and as the trained part of those that run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deqlab.experiments.base import Job, Row
from deqlab.experiments.comparing.arms import OWN
from deqlab.experiments.runner import Part

SHOWN = (
    "test_accuracy",
    "test_loss",
    "psnr",
    "perplexity",
    "converged",
    "train_loss",
)
"""Fields of a row that its line shows, the first two that it has."""

LINES = 6
"""Jobs that a terminal shows at a time."""

SILENCE = 60.0
"""Seconds from one line of a job that runs to the next, where the lines stay."""

EARLY = 2.0
"""Seconds before which nothing is known of the pace."""

Key: TypeAlias = tuple[int, str, int]
"""The number of a part, what the arm is called, and the seed of a job."""


class Display:
    """The jobs of a sitting.

    Args:
        parts: The runs; several are told apart by the names of their folders.
        console: Where it is shown.
    """

    def __init__(self, parts: Sequence[Part], console: Console) -> None:
        self.parts, self.console = parts, console
        self.name = parts[0].experiment.name
        self._began = self._spoke = time.monotonic()
        self._done_before = self._done
        self._plan()
        self._running: dict[Key, Row] = {}
        self._live = Live(
            console=console, transient=True, get_renderable=self._picture, refresh_per_second=4
        )

    def run(self, work: Callable[..., Any]) -> Any:  # noqa: ANN401, whatever it returns
        """Return what the work does, which is called with `on_progress` and `on_loss`."""
        with self._live:
            return work(on_progress=self._tell, on_loss=self._say)

    @property
    def _done(self) -> int:
        return sum(len(part.run.done) for part in self.parts)

    def _plan(self) -> None:
        """Count the jobs that there are, and those that are planned when these are done."""
        self._planned = self._done + sum(len(part.missing()) for part in self.parts)
        later = (part.experiment.later(part.config, part.run.rows) for part in self.parts)
        self._total = self._planned + sum(later)

    def _tell(self, part: Part, job: Job, row: Row | None) -> None:
        key = self.parts.index(part), called(job), job.seed
        if row is None:
            self._running.pop(key, None)
            if self._done >= self._planned:  # plans are not made for every job: some take seconds
                self._plan()
            summary = part.run.rows[-1]
            seconds = summary.get("seconds")
            took = "" if seconds is None else f", {in_words(seconds)} of training"
            self._say(f"{self._count}: {self._called(key)}{_metrics(summary)}{took}{self._after}")
        elif (job.arm, job.seed) not in part.run.done:
            self._running[key] = row
            if not self.console.is_terminal and time.monotonic() - self._spoke > SILENCE:
                self._say(f"{self._count}: {self._line(key)}{self._after}")

    def _say(self, sentence: str) -> None:
        self._spoke = time.monotonic()
        # In a file lines are as long as they are; on a terminal they end between words.
        self.console.print(
            f"{self.name} {sentence}",
            markup=False,
            highlight=False,
            soft_wrap=not self.console.is_terminal,
        )

    @property
    def _count(self) -> str:
        return f"{self._done}/{self._total}"

    def _called(self, key: Key) -> str:
        number, arm, seed = key
        folder = f"{self.parts[number].run.path.name}, " if len(self.parts) > 1 else ""
        return f"{folder}{arm}, seed {seed}"

    def _line(self, key: Key) -> str:
        row = self._running[key]
        at = ""
        if "step" in row:
            of = f" of {row['num_steps']:,}" if "num_steps" in row else ""
            at = f", step {row['step']:,}{of}"
        return f"{self._called(key)}{at}{_metrics(row)}"

    @property
    def _after(self) -> str:
        """The end of a line that stays; a terminal shows the time left below."""
        left = None if self.console.is_terminal else self._left()
        return "" if left is None else f"; {left}"

    @property
    def _begun(self) -> float:
        return sum((row.get("share") or 0.0 for row in self._running.values()), 0.0)

    def _left(self) -> str | None:
        """Return how long it will take, in words; None if nothing is known."""
        elapsed = time.monotonic() - self._began
        taken = self._done - self._done_before + self._begun
        left = self._total - self._done - self._begun
        if elapsed < EARLY or taken < 0.02 or left <= 0:
            return None
        return f"about {in_words(elapsed * left / taken)} left"

    def _picture(self) -> Group:
        head = Table.grid(padding=(0, 1), expand=False)
        bar = ProgressBar(total=max(1, self._total), completed=self._done + self._begun, width=16)
        elapsed = in_words(time.monotonic() - self._began)
        times = ", ".join(filter(None, (elapsed, self._left())))
        head.add_row(
            Text(self.name, "bold"),
            bar,
            f"{self._count} {'job' if self._total == 1 else 'jobs'}",
            times,
        )
        return Group(head, *self._lines())

    def _lines(self) -> Iterator[Text]:
        keys = list(self._running)
        for key in keys[-LINES:]:
            yield Text(f"  {self._line(key)}", overflow="ellipsis", no_wrap=True)


def called(job: Job) -> str:
    """Return what the arm of a job is called: its name, or of a network of the user's its label."""
    return str(job.settings.get("label", job.arm)) if job.arm == OWN else job.arm


def in_words(seconds: float) -> str:
    """Return a time as a person would say it: "0.4 s", "12 s", "3 min", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _metrics(row: Row) -> str:
    shown = [f"{name} {row[name]:.4g}" for name in SHOWN if row.get(name) is not None]
    return "".join(f", {text}" for text in shown[:2])
