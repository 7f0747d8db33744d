"""What an experiment is: a claim, arms that compete, and a verdict from the rows they leave.

An experiment is a set of jobs, one per (arm, seed). A job is a pure function of the config, the
arm and the seed that yields rows; the runner writes them, and nothing else is kept. So a run can
stop anywhere and go on later, and a report can be rebuilt from the rows alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

Row: TypeAlias = dict[str, Any]
"""One line of rows.jsonl: plain JSON values by field name."""

FORMAT = 1
"""Of a run directory."""

PROGRESS = "progress"
"""Kind of a row that is shown while a job runs, and not kept."""

Format: TypeAlias = Literal["percent", "si", "integer", "bytes", "seconds", "number", "text"]

Origin: TypeAlias = Literal["published", "derived", "asked"]
"""Of a claim: a paper makes it, it follows from one by our own derivation, or we ask."""

Outcome: TypeAlias = Literal["holds", "holds partly", "does not hold here", "undecided"]


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds: for the domains of fields."""
    if not condition:
        raise ValueError(message)


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError unless `seeds` are one or more different numbers of at least 0."""
    require(len(seeds) > 0, "seeds needs at least one number")
    require(min(seeds) >= 0, f"seeds must be 0 or more, got {list(seeds)}")
    # As far as those of numpy and scikit-learn go.
    require(max(seeds) < 2**32, f"seeds must be below 2^32, got {max(seeds)}")
    require(len(set(seeds)) == len(seeds), f"seeds must differ, got {list(seeds)}")


def check_at_least(config: object, least: int, *names: str) -> None:
    """Raise ValueError unless the named numeric fields of `config` are `least` or more."""
    for name in names:
        value = getattr(config, name)
        require(least <= value < float("inf"), f"{name} must be at least {least}, got {value}")


def check_at_most(config: object, most: int, *names: str) -> None:
    """Raise ValueError if a named field of `config`, or one of its numbers, is above `most`."""
    for name in names:
        value = getattr(config, name)
        largest = max(value) if isinstance(value, tuple) else value
        require(largest <= most, f"{name} must be at most {most}, got {largest}")


def check_positive(config: object, *names: str) -> None:
    """Raise ValueError unless the named numeric fields of `config` are above 0, and finite."""
    for name in names:
        value = getattr(config, name)
        require(0 < value < float("inf"), f"{name} must be above 0, got {value}")


def check_choice(config: object, name: str, choices: Iterable[str]) -> None:
    """Raise ValueError unless the field `name` of `config` is one of `choices`."""
    value = getattr(config, name)
    require(value in choices, f"{name} is one of {', '.join(choices)}; got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One arm at one seed.

    Attributes:
        arm: Short name, unique in the experiment.
        seed: The seed.
        settings: What else the arm needs to be built: plain values.
    """

    arm: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to the claim.

    Attributes:
        outcome: In two words.
        sentence: In one sentence, with numbers.
        details: More of them.
    """

    outcome: Outcome
    sentence: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart that the report draws from rows of one kind; medians and spread over seeds.

    Attributes:
        kind: "line" over x, "scatter" with one point per arm, or "heatmap" with a row per arm and
            seed, a cell per x, and y as its shade.
        rows: The kind of rows.
        panel_by: Field of the rows: one panel for each of its values. Or of the summary rows; then
            arms for which it is null are in every panel.
        y_format: How the numbers on the y axis are written.
    """

    kind: Literal["line", "scatter", "heatmap"] = "line"
    title: str
    caption: str
    rows: str
    x: str
    y: str
    x_label: str
    y_label: str
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    panel_by: str | None = None
    y_format: Format = "number"


@dataclass(frozen=True, kw_only=True)
class Images:
    """A grid of small pictures that the report draws from rows of one kind.

    Each row has `pixels`: numbers from 0 to 1, (height, width) or (height, width, 3). Of all rows
    with the same place in the grid the first one is shown.

    Attributes:
        rows: The kind of rows.
        line: Field that names the line of the grid.
        column: Field that names the column.
    """

    kind: Literal["images"] = "images"
    title: str
    caption: str
    rows: str
    line: str
    column: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table; `better` marks its best value."""

    field: str
    label: str
    format: Format
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that the report makes from rows of one kind, by arm and possibly one more field."""

    title: str
    caption: str
    rows: str
    columns: tuple[Column, ...]
    by: str = "arm"


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the report shows of an experiment."""

    charts: tuple[Chart | Images, ...]
    tables: tuple[Table, ...]


ConfigT = TypeVar("ConfigT")
"""A frozen dataclass of plain values, with a field `seeds`; it checks its own domains."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[ConfigT]):
    """A published claim, or a question of ours, as something that runs.

    Attributes:
        name: What `deqlab run` calls it.
        title: Its heading.
        claim: The sentence that is tested.
        source: Who claims it, down to the figure; or that deqlab asks.
        origin: Of the claim.
        presets: Configs by name: "smoke" (seconds), "quick" (minutes), "full".
        page: What the report shows.
        check: Raises ValueError if the config cannot run here, before anything is written.
        plan: All jobs that can be known from the rows of the finished ones, in order.
        run: Yields the rows of one job, the last one of kind "summary".
        judge: The verdict from all rows.
    """

    name: str
    title: str
    claim: str
    source: str
    origin: Origin
    presets: Mapping[str, ConfigT]
    page: Page
    check: Callable[[ConfigT], None]
    plan: Callable[[ConfigT, Sequence[Row]], list[Job]]
    run: Callable[[ConfigT, Job], Iterator[Row]]
    judge: Callable[[ConfigT, Sequence[Row]], Verdict]

    def describe(self, config: ConfigT, preset: str) -> dict[str, Any]:
        """Return what config.json holds."""
        return {
            "format": FORMAT,
            "experiment": self.name,
            "title": self.title,
            "claim": self.claim,
            "source": self.source,
            "origin": self.origin,
            "preset": preset,
            "config": asdict(config),  # type: ignore[call-overload]
            "report": asdict(self.page),
        }


def summaries(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that end a job."""
    return [row for row in rows if row["kind"] == "summary"]
