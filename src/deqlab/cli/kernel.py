"""`deqlab kernel`: the kernel of one DEQ on one data set, and what an explicit network saves.

It is the experiment kernel-spectrum with the data of whoever asks, and a page that begins with
their question.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from deqlab.cli.overrides import first_seeds
from deqlab.cli.session import check_config, run_session
from deqlab.experiments.base import Experiment, Row
from deqlab.experiments.config import UsageError
from deqlab.experiments.kernels.kernel_spectrum import EXPERIMENT, KernelSpectrumConfig
from deqlab.experiments.kernels.kernel_spectrum_report import SPECTRA
from deqlab.inputs.kernel_data import fingerprint, understood
from deqlab.runs.opening import check
from deqlab.runs.rundir import RunDirectory

COSTS = ("flops", "inference_seconds")


def ask(
    data: str,
    *,
    label: str | None,
    classes: str,
    seeds: int,
    out: Path,
    command: str,
    **fields: int | float | str,
) -> None:
    """Run what is missing in `out`, and print the answer.

    Args:
        data: A name, or the path of a file.
        label: The column or the array of a file that holds the labels.
        classes: Numbers with commas between them.
        seeds: How many draws of the samples.
        out: The run directory.
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
    if line := understood(data, label):
        print(line)
    checksum = fingerprint(data)  # a run goes on only with the file that it began with
    try:
        config = KernelSpectrumConfig(
            data=(data,),
            checksums=(checksum,),
            label=label,
            classes=tuple(map(int, numbers)),
            seeds=first_seeds(seeds),
            **fields,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    experiment = _experiment(config)
    description = experiment.describe(config, "asked")
    check(out, description)
    check_config(experiment, config)
    run_session(
        experiment, config, preset="asked", path=out, command=command, jobs=1, backend="loky"
    )
    run = RunDirectory.open(out, description)
    try:
        _show(run.rows)
    finally:
        run.close()


def _experiment(config: KernelSpectrumConfig) -> Experiment[KernelSpectrumConfig]:
    """Return the experiment that answers for these data."""
    (data,) = config.data
    name = Path(data).name
    return replace(
        EXPERIMENT,
        name="kernel",
        title=f"The kernel of a {config.activation} DEQ on {name}",
        claim=f"On {name} the {config.kind} kernel of a wide {config.activation} DEQ with "
        f"sigma_a^2 = {config.sigma_a2:g} has the spectrum that four nonlinear equations give, "
        "and a shallow explicit network has the same kernel.",
        source="asked by deqlab kernel; the equations are those of Ling et al. (2024, "
        "arXiv:2402.02697)",
        presets={"asked": config},
    )


def _show(rows: Sequence[Row]) -> None:
    """Print eigenvalues side by side, errors, the matched network, and what it saves."""
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
    errors = [f"{of(arm, 'error'):.2g}" for arm in SPECTRA]
    table.add_row("error", *errors, f"{of('equivalent', 'alignment'):.3f}", style="bold")
    console.print(table)
    console.print(
        "Error: relative, in spectral norm. Alignment: length of an eigenvector of the equivalent "
        "in the space of the exact leading ones."
    )
    (network, *_) = (row for row in spectra if row["arm"] == "matched")
    console.print(f"Explicit network with the same kernel: {network['layers']}", markup=False)
    if network.get("step_sizes"):
        etas = ", ".join(f"{eta:.4g}" for eta in network["step_sizes"])
        console.print(f"Step sizes of its weights, from the input on: {etas}")
    if all("flops" in row for row in spectra if row["arm"] in ("exact", "matched")):
        ratios = [of("exact", field) / of("matched", field) for field in COSTS]
        console.print(
            "At equal width the DEQ takes {:.1f} times its FLOPs and {:.1f} times its time.".format(
                *ratios
            )
        )
