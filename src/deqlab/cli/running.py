"""Runs of several experiments by one command."""

import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from deqlab.cli.overrides import first_seeds, one_of, override
from deqlab.cli.session import check_backend, check_config, run_session
from deqlab.experiments.base import Experiment
from deqlab.experiments.comparing.evidence import WELL_SOLVED, least_converged
from deqlab.experiments.config import UsageError
from deqlab.runs.opening import check
from deqlab.workers import BACKENDS


def run_all(
    experiments: Sequence[Experiment[Any]],
    *,
    named: list[str],
    preset: str,
    settings: list[str] | None,
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
        check(out / experiment.name, experiment.describe(config, preset))
        try:
            check_config(experiment, config)
        except ValueError as error:
            if experiment.name in named:
                raise
            print(f"deqlab: {experiment.name} is left out: {error}", file=sys.stderr)
            continue
        planned.append((experiment, config))
    command, left = shlex.join(["deqlab", *sys.argv[1:]]), []
    for experiment, config in planned:
        with _sentences():
            rows = run_session(
                experiment,
                config,
                preset=preset,
                path=out / experiment.name,
                command=command,
                jobs=jobs,
                backend=backend,
            )
        left += [experiment.name] if least_converged(rows) < WELL_SOLVED else []
    return left


@contextmanager
def _sentences() -> Iterator[None]:
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
