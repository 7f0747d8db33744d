"""The arms of a run: what people call them, and the colour and marker each one keeps.

An arm looks the same in every chart and table of its run. Colour never carries meaning
alone: neighbours also differ in marker and dash. The colours themselves are CSS variables
--c0, --c1, ... of style.css, one palette for light pages and one for dark ones.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from deqlab.report.rows import Job, Run

NUM_COLOURS = 9


class Marker(NamedTuple):
    """One shape, for matplotlib and as an SVG path in a box from -5 to 5."""

    code: str
    path: str
    scale: float  # of the size that makes shapes look equally large


# 7 markers against 9 colours: 63 arms pass before a pair repeats.
MARKERS = (
    Marker("o", "M4.5 0A4.5 4.5 0 1 1-4.5 0A4.5 4.5 0 1 1 4.5 0Z", 1.0),
    Marker("s", "M-4-4H4V4H-4Z", 1.0),
    Marker("^", "M0-4.6L4.8 4H-4.8Z", 1.0),
    Marker("D", "M0-5.4L5.4 0L0 5.4L-5.4 0Z", 1.0),
    Marker("v", "M0 4.6L4.8-4H-4.8Z", 1.0),
    Marker("P", "M-1.7-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z", 1.35),
    Marker(
        "X", "M-2.5-5L0-2.5L2.5-5L5-2.5L2.5 0L5 2.5L2.5 5L0 2.5L-2.5 5L-5 2.5L-2.5 0L-5-2.5Z", 1.3
    ),
)

# Lengths of dash and gap, in units of the SVG; () is a solid line.
DASHES: tuple[tuple[float, ...], ...] = ((7.0, 3.0), (2.5, 2.5), (9.0, 3.0, 2.0, 3.0))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: its finished jobs and how it looks.

    A reference arm (no `matching` in its summary row) is what the others are matched to;
    it is drawn solid and thick, and appears in every panel.
    """

    name: str
    label: str
    reference: bool
    slot: int
    jobs: tuple[Job, ...]

    @property
    def colour(self) -> str:
        """Name of the CSS variable that holds the colour."""
        return f"c{self.slot % NUM_COLOURS}"

    @property
    def marker(self) -> Marker:
        """Shape of the points."""
        return MARKERS[self.slot % len(MARKERS)]

    @property
    def dash(self) -> tuple[float, ...]:
        """Dash pattern of the line, empty for a solid one."""
        return () if self.reference else DASHES[self.slot % len(DASHES)]

    @property
    def width(self) -> float:
        """Width of the line, in units of the SVG."""
        return 2.8 if self.reference else 1.8

    @property
    def seeds(self) -> int:
        """How many seeds finished."""
        return len(self.jobs)


def arms_of(run: Run) -> tuple[Arm, ...]:
    """The arms of `run`: reference arms first, else in the order of their first job."""
    jobs: dict[str, list[Job]] = {}
    for job in run.jobs:
        jobs.setdefault(job.arm, []).append(job)
    labels = {name: str(of[0].summary.get("label") or name) for name, of in jobs.items()}
    repeated = Counter(labels.values())
    ordered = sorted(jobs, key=lambda name: not _is_reference(jobs[name][0]))
    return tuple(
        Arm(
            name=name,
            label=labels[name] if repeated[labels[name]] == 1 else f"{labels[name]} ({name})",
            reference=_is_reference(jobs[name][0]),
            slot=slot,
            jobs=tuple(jobs[name]),
        )
        for slot, name in enumerate(ordered)
    )


def seeds_in_words(arms: Sequence[Arm]) -> str:
    """How many seeds the arms have finished: "3 seeds", "2 to 3 seeds", "" without arms."""
    counts = sorted({arm.seeds for arm in arms})
    if not counts:
        return ""
    if counts == [1]:
        return "one seed"
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) + " seeds"


def _is_reference(job: Job) -> bool:
    return job.summary.get("matching") is None
