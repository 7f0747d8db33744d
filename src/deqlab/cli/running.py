"""Runs of several experiments by one command."""

import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from deqlab.cli.overrides import first_seeds, one_of, override
from deqlab.cli.session import check_backend, check_config, run_together
from deqlab.cli.sweeping import check_folder, folder_of, swept, write_sweep
from deqlab.experiments.base import Experiment, Row
from deqlab.experiments.comparing.evidence import WELL_SOLVED, least_converged_deq
from deqlab.experiments.config import UsageError
from deqlab.runs.opening import RunError, check
from deqlab.workers import BACKENDS

SAID = 3
"""Runs whose folders are named at the end of a command."""


def run_all(
    experiments: Sequence[Experiment[Any]],
    *,
    named: list[str],
    preset: str,
    settings: list[str] | None,
    sweeps: list[str] | None,
    seeds: int | None,
    out: Path,
    jobs: int,
    backend: str,
) -> list[str]:
    """Run experiments one after the other; all of them are checked before the first one runs.

    Args:
        experiments: The experiments.
        named: The names that were asked for. An experiment that is not among them stands in a
            group, of which all that can run here does.
        preset: The name of their presets.
        settings: What the command sets, FIELD=VALUE.
        sweeps: What the command sweeps over, FIELD=VALUE,VALUE,...
        seeds: How many seeds; None is those of the preset.
        out: Each run goes to a folder of its name in here.
        jobs: Workers.
        backend: What runs them.

    Returns:
        The names of those in which a DEQ ended off its equilibrium.

    Raises:
        UsageError: An argument is outside its domain, or an experiment cannot run here.
        RunError: A directory cannot be used.
    """
    if seeds is not None and seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {seeds}")
    check_backend(one_of(backend, BACKENDS, what="backend"), jobs)
    extra = [] if seeds is None else [f"seeds={','.join(map(str, first_seeds(seeds)))}"]
    planned = []
    for experiment in experiments:
        config = experiment.presets[one_of(preset, experiment.presets, what="preset")]
        config = override(config, [*(settings or []), *extra])
        sitting = _Sitting.of(experiment, config, sweeps or [], settings or [], out)
        try:
            sitting.check(preset)
        except ValueError as error:
            if experiment.name in named or isinstance(error, RunError):
                raise
            print(f"deqlab: {experiment.name} is left out: {error}", file=sys.stderr)
            continue
        planned.append(sitting)
    command, left = shlex.join(["deqlab", *sys.argv[1:]]), []
    for sitting in planned:
        with sentences():
            found = sitting.run(preset=preset, command=command, jobs=jobs, backend=backend)
        if min(map(least_converged_deq, found)) < WELL_SOLVED:
            left.append(sitting.experiment.name)
    if planned:
        print(_where([sitting.folder for sitting in planned], out), file=sys.stderr)
    return left


def _where(folders: Sequence[Path], out: Path) -> str:
    """Return where the results lie and what shows them; of many runs it is the folder of all."""
    told = shlex.join(map(str, folders if len(folders) <= SAID else [out]))
    return f"Results are in {told}; deqlab report {told} writes a page about them."


@dataclass(frozen=True)
class _Sitting:
    """The runs of one experiment: one, or one for each value of a sweep over a field."""

    experiment: Experiment[Any]
    configs: dict[Path, Any]
    field: str | None = None

    @classmethod
    def of(
        cls,
        experiment: Experiment[Any],
        config: Any,  # noqa: ANN401
        sweeps: Sequence[str],
        settings: Sequence[str],
        out: Path,
    ) -> "_Sitting":
        if not sweeps:
            return cls(experiment, {out / experiment.name: config})
        field, configs = swept(config, sweeps, settings)
        folder = out / folder_of(experiment, field)
        check_folder(folder, field)
        return cls(experiment, {folder / name: each for name, each in configs.items()}, field)

    @property
    def folder(self) -> Path:
        """The run, or the folder of a sweep."""
        run = next(iter(self.configs))
        return run if self.field is None else run.parent

    def check(self, preset: str) -> None:
        """Raise an error if it cannot run here, before anything is written."""
        for path, config in self.configs.items():
            check(path, self.experiment.describe(config, preset))
            check_config(self.experiment, config)

    def run(self, *, preset: str, command: str, jobs: int, backend: str) -> list[list[Row]]:
        """Run what is missing, and return the rows of each run."""
        try:
            return run_together(
                self.experiment,
                self.configs,
                preset=preset,
                command=command,
                jobs=jobs,
                backend=backend,
            )
        finally:
            if self.field is not None:
                write_sweep(self.experiment, self.field, self.configs, preset)


@contextmanager
def sentences() -> Iterator[None]:
    """Show deqlab's own warnings as sentences: where in our code they come from helps nobody."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category.__module__.startswith("deqlab."):
                print(f"deqlab: {message}", file=sys.stderr)
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
