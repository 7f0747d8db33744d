"""`deqlab kernel`: the kernel of one DEQ on one data set, and what an explicit network saves.

It is the experiment kernel-spectrum with the data of whoever asks, and a page that begins with
their question.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from deqlab.cli.folders import folder_for
from deqlab.cli.overrides import first_seeds
from deqlab.cli.session import check_config, run_session
from deqlab.experiments.base import Row
from deqlab.experiments.config import UsageError
from deqlab.experiments.kernels.kernel_answer import experiment_for
from deqlab.experiments.kernels.kernel_spectrum import KernelSpectrumConfig
from deqlab.experiments.kernels.kernel_spectrum_report import SPECTRA
from deqlab.inputs.kernel_data import fingerprint, understood
from deqlab.inputs.kernel_table import AS_IS, NO_LABEL
from deqlab.runs.opening import check


def ask(
    data: str,
    *,
    label: str | None,
    no_label: bool,
    drop: Sequence[str],
    standardise: bool,
    classes: str,
    seeds: int,
    out: Path | None,
    command: str,
    **fields: int | float | str,
) -> Path:
    """Run what is missing, print the answer, and return the run directory.

    Args:
        data: A name, or the path of a file.
        label: The column or the array of a file that holds the labels.
        no_label: Whether all columns of a table are features.
        drop: Columns of a table that are left out.
        standardise: Whether the numbers of a table are.
        classes: Numbers with commas between them.
        seeds: How many draws of the samples.
        out: The run directory; None is one of runs/ for these data and settings.
        command: What the report shows as the command.
        fields: Fields of `KernelSpectrumConfig`.

    Raises:
        DataError: There are no such data.
        UsageError: A field is outside its domain, or no explicit network has the kernel.
        RunError: The directory cannot be used.
    """
    numbers = classes.split(",")
    if not all(number.strip().isdigit() for number in numbers):
        raise UsageError(f"--classes takes numbers such as 6,8; got {classes!r}")
    if no_label and label is not None:
        raise UsageError("--label and --no-label contradict each other: leave one out")
    label, scaling = (NO_LABEL if no_label else label), (None if standardise else AS_IS)
    if line := understood(data, label, tuple(drop), scaling):
        print(f"{line}.")
    try:
        config = KernelSpectrumConfig(
            data=(data,),
            checksums=(fingerprint(data),),  # a run goes on only with the file it began with
            label=label,
            drop=tuple(drop) or None,
            scaling=scaling,
            classes=tuple(map(int, numbers)),
            seeds=first_seeds(seeds),
            **fields,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    experiment = experiment_for(config)
    description = experiment.describe(config, "asked")
    out = out or folder_for("kernel", data, description)
    check(out, description)
    check_config(experiment, config)
    rows = run_session(
        experiment, config, preset="asked", path=out, command=command, jobs=1, backend="loky"
    )
    print(experiment.judge(config, rows).details[0])
    _show(rows)
    return out


def _show(rows: Sequence[Row]) -> None:
    """Print eigenvalues side by side, and errors."""
    console = Console()
    leading = [row for row in rows if row["kind"] == "leading"]
    spectra = [row for row in rows if row["kind"] == "spectrum"]

    def of(arm: str, field: str, rows: Sequence[Row] = spectra) -> float:
        return float(median(row[field] for row in rows if row["arm"] == arm))

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("eigenvalue", *SPECTRA, "alignment"):
        table.add_column(heading, justify="right")
    for rank in sorted({row["rank"] for row in leading}):
        here = [row for row in leading if row["rank"] == rank]
        values = [f"{of(arm, 'eigenvalue', here):.4g}" for arm in SPECTRA]
        table.add_row(str(rank), *values, f"{of('equivalent', 'alignment', here):.3f}")
    errors = [_percent(of(arm, "error")) for arm in SPECTRA]
    table.add_row("error", *errors, f"{of('equivalent', 'alignment'):.3f}", style="bold")
    console.print(table)
    console.print(
        "Error: relative, in spectral norm. Alignment: length of an eigenvector of the equivalent "
        "in the space of the exact leading ones."
    )
    (network, *_) = (row for row in spectra if row["arm"] == "matched")
    if network.get("step_sizes"):
        etas = ", ".join(f"{eta:.4g}" for eta in network["step_sizes"])
        console.print(f"Step sizes of its weights, from the input on: {etas}")


def _percent(error: float) -> str:
    if error > 10:
        return "> 1,000 %"
    return f"{100 * error:.2g} %" if error < 0.995 else f"{100 * error:.0f} %"
