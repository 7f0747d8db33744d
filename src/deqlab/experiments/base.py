"""What an experiment is: a claim, arms that compete, and a verdict from the rows they leave.

An experiment is a set of jobs, one per (arm, seed). A job is a pure function of the config, the
arm and the seed that yields rows; the runner writes them, and nothing else is kept. So a run can
stop anywhere and go on later, and a report can be rebuilt from the rows alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from deqlab.experiments.config import Config, ConfigT
from deqlab.experiments.page import Page
from deqlab.experiments.standing import changed
from deqlab.runs.records import FORMAT, Job, Outcome, Row, Verdict

__all__ = ["Experiment", "Job", "Outcome", "Row", "Verdict"]

PROGRESS = "progress"
"""The kind of a row that is shown while a job runs, and not kept."""


def progress(row: Row, *, num_steps: int, attempt: int = 0, attempts: int = 1) -> Row:
    """Return a row of training as one that is shown, with how far the job is.

    Args:
        row: With the field "step".
        num_steps: Steps of this training.
        attempt: How many trainings of the job are done.
        attempts: How many it has.
    """
    share = (attempt + row["step"] / num_steps) / attempts
    return {"kind": PROGRESS, **row, "num_steps": num_steps, "share": share}


Origin: TypeAlias = Literal["published", "derived", "asked"]
"""Where a claim comes from: a paper makes it, we derive it from one, or we ask it ourselves."""

Plan: TypeAlias = Callable[[ConfigT, Sequence[Row]], list[Job]]


def every_job(arms: Mapping[str, Mapping[str, Any]], seeds: Iterable[int]) -> list[Job]:
    """Return one job for each arm and seed, the seeds of an arm one after the other.

    Args:
        arms: The settings of each arm by its name.
        seeds: The seeds.
    """
    return [Job(arm=arm, seed=seed, settings=of) for arm, of in arms.items() for seed in seeds]


def cross(arms: Iterable[str] | Callable[[Any], Iterable[str]]) -> Plan[Any]:
    """Return the plan of an experiment that runs every arm at every seed.

    Args:
        arms: The names of the arms, or a function of the config that returns them.
    """

    def plan(config: Config, rows: Sequence[Row]) -> list[Job]:
        names = arms(config) if callable(arms) else arms
        return every_job({name: {} for name in names}, config.seeds)

    return plan


def cross_by_seed(arms: Iterable[str]) -> Plan[Any]:
    """Return the same plan with the arms of a seed one after the other: they share its data."""
    return lambda config, rows: [Job(arm=arm, seed=seed) for seed in config.seeds for arm in arms]


def nothing_later(config: Config, rows: Sequence[Row]) -> int:
    """Return 0: all jobs can be planned from the start."""
    return 0


def can_always_run(config: Config) -> None:
    """Check nothing: the experiment needs no data and no package that may be absent."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[ConfigT]):
    """A published claim, or a question of ours, as something that runs.

    Attributes:
        name: What `deqlab run` calls it.
        title: Its heading.
        claim: The sentence that is tested.
        source: Who claims it, down to the figure; or that deqlab asks.
        origin: Where the claim comes from.
        presets: Configs by name: "smoke" (seconds), "quick" (minutes), "full".
        page: What the report shows.
        plan: Returns all jobs that can be known from the rows of the finished ones, in order; see
            `cross`.
        run: Yields the rows of one job, the last one of kind "summary".
        judge: Returns the verdict from all rows.
        later: Returns how many more jobs there may be when those of the plan are done, at most.
        check: Raises ValueError if the config cannot run here, before anything is written.
        module: Where it was found, MODULE:NAME; None for those that deqlab brings. A run goes on
            only with the experiment of the module that it began with.
    """

    name: str
    title: str
    claim: str
    source: str
    origin: Origin
    presets: Mapping[str, ConfigT]
    page: Page
    plan: Plan[ConfigT]
    run: Callable[[ConfigT, Job], Iterator[Row]]
    judge: Callable[[ConfigT, Sequence[Row]], Verdict]
    later: Callable[[ConfigT, Sequence[Row]], int] = nothing_later
    check: Callable[[ConfigT], None] = can_always_run
    module: str | None = None

    def describe(self, config: ConfigT, preset: str) -> dict[str, Any]:
        """Return what config.json holds."""
        place = {} if self.module is None else {"module": self.module}
        return {
            "format": FORMAT,
            "experiment": self.name,
            "title": self.title,
            "claim": self.claim,
            "source": self.source,
            "origin": self.origin,
            **place,
            "preset": preset,
            "config": asdict(config),
            "changed": changed(config, self.presets[preset]) if preset in self.presets else {},
            "report": asdict(self.page),
        }


ExperimentT = TypeVar("ExperimentT", bound=Experiment[Any])


def at(experiment: ExperimentT, place: str) -> ExperimentT:
    """Return an experiment that remembers where it was found."""
    return replace(experiment, module=place)


def summaries(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that end a job."""
    return [row for row in rows if row["kind"] == "summary"]
