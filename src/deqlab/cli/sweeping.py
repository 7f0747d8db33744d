"""`--sweep FIELD=5,10,20`: one run for each value, and one that draws them all.

The run of a value is OUT/NAME-by-FIELD/FIELD=VALUE, as if it had been asked for with --set: a sweep
with more values runs only those that are not there. OUT/NAME-by-FIELD itself is a run directory of
all values that were asked for, made again from theirs at the end of every sitting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deqlab.cli.overrides import one_of, override
from deqlab.experiments.base import Experiment, Row, Verdict
from deqlab.experiments.config import ConfigT, UsageError
from deqlab.experiments.sweep import Sweep
from deqlab.runs.jobs import jobs_of
from deqlab.runs.opening import RunError, line_of, remove, sessions_of, write
from deqlab.runs.reading import DamagedError, read_object, read_rows
from deqlab.runs.writing import to_json


def swept(
    config: ConfigT, sweeps: Sequence[str], settings: Sequence[str]
) -> tuple[str, dict[str, ConfigT]]:
    """Return the field of a sweep, and the config of each value by the name of its folder.

    Args:
        config: The config with all other settings.
        sweeps: What follows each --sweep: FIELD=VALUE,VALUE,... A semicolon between values lets
            them have commas.
        settings: What follows each --set.

    Raises:
        UsageError: There are two sweeps, no such field, no values, one of them twice or outside of
            its domain, or the field is set as well.
    """
    if len(sweeps) > 1:
        raise UsageError(f"--sweep is for one field at a time, got {' and '.join(sweeps)}")
    (sweep,) = sweeps
    field, equals, text = sweep.partition("=")
    if not equals:
        raise UsageError(f"--sweep takes FIELD=VALUE,VALUE,..., got {sweep!r}")
    one_of(field, [each.name for each in fields(config)], what="field")
    if field == "seeds":
        raise UsageError("--sweep seeds: seeds are no setting that is compared; --seeds N runs N")
    if any(setting.partition("=")[0] == field for setting in settings):
        raise UsageError(f"{field} is set and swept: leave out --set {field} or --sweep {field}")
    parts = [part.strip() for part in text.split(";" if ";" in text else ",")]
    if not all(parts):
        raise UsageError(f"--sweep {field} takes one or more values, such as 5,10,20; got {text!r}")
    found: dict[str, ConfigT] = {}
    for part in parts:
        each = override(config, [f"{field}={part}"], option="--sweep")
        name = f"{field}={_text(getattr(each, field))}"
        if name in found:
            raise UsageError(f"--sweep {field} has the value {part} twice")
        found[name] = each
    return field, found


def folder_of(experiment: Experiment[Any], field: str) -> str:
    """Return the name of the folder of a sweep."""
    return f"{experiment.name}-by-{field}"


def _text(value: object) -> str:
    parts = value if isinstance(value, tuple) else (value,)
    return quote(",".join(map(str, parts)), safe=" ,=+*().", errors="surrogatepass")


def check_folder(path: Path, field: str) -> None:
    """Raise RunError if the folder of a sweep holds something else."""
    file = path / "config.json"
    try:
        found = read_object(file)["sweep"] if file.exists() else field
    except (DamagedError, KeyError) as error:
        raise RunError(f"{file} is not of a sweep; choose another --out") from error
    if found != field:
        raise RunError(f"{path} holds a sweep over {found}, not {field}; choose another --out")


def write_sweep(
    experiment: Experiment[Any], field: str, configs: Mapping[Path, Any], preset: str
) -> None:
    """Write what runs have in common into the folder that they are in.

    Args:
        experiment: What ran.
        field: The field that was swept.
        configs: The config of each run by its directory.
        preset: The name of the preset.

    Raises:
        RunError: A run is damaged, or the disk is full.
    """
    runs, path = list(configs), next(iter(configs)).parent
    rows = [_finished(run / "rows.jsonl") for run in runs]
    if not any(rows):
        return
    sweep = Sweep(experiment=experiment, field=field, configs=list(configs.values()), rows=rows)
    sessions = [session for run in runs for session in sessions_of(run)]
    unique = list({to_json(session): session for session in sessions}.values())
    description = {**sweep.describe(preset), "sweep": field}
    write(path / "config.json", to_json(description, indent=2) + "\n")
    write(path / "environment.json", to_json({"sessions": unique}, indent=2) + "\n")
    write(path / "rows.jsonl", "".join(map(line_of, sweep.points())))
    remove(path / "verdict.json")
    verdicts = [run / "verdict.json" for run in runs]
    if all(file.exists() for file in verdicts):
        verdict = sweep.judge([_verdict(file) for file in verdicts])
        write(path / "verdict.json", to_json(asdict(verdict), indent=2) + "\n")


def _finished(file: Path) -> list[Row]:
    jobs = jobs_of(read_rows(file).rows)
    return [row for rows in jobs.finished.values() for row in rows]


def _verdict(file: Path) -> Verdict:
    found = read_object(file)
    return Verdict(outcome=found["outcome"], sentence=found["sentence"])
