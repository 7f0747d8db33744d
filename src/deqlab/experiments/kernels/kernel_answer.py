"""What `deqlab kernel` answers about the data of whoever asks.

Two questions: do four equations give the kernel of a DEQ there, and which explicit network has it?
Where the data are not such as the theory is about (see `kernels.applicability`), nothing is shown
or refuted, whatever the numbers are: the answer says what was measured, and what to do.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from deqlab.experiments.base import Experiment, Job, Outcome, Row, Verdict
from deqlab.experiments.comparing.evidence import median_of, select
from deqlab.experiments.kernels.kernel_spectrum import EXPERIMENT, KernelSpectrumConfig
from deqlab.experiments.kernels.kernel_spectrum_report import ALIGNED, NEAR, PAGE, share
from deqlab.experiments.page import Page, column, table
from deqlab.inputs.kernel_data import understood
from deqlab.inputs.kernel_table import AS_IS
from deqlab.kernels.applicability import Applicability, applicability

COSTS = ("flops", "inference_seconds")

ALIKE = 0.05
"""The largest error of the kernel of the matched network with which it is called the same."""

_LONG = re.compile(r"\d+\.\d{5,}(e[+-]\d+)?")

_LEADING = PAGE.tables[1]

_PAGE = Page(
    charts=PAGE.charts,
    tables=(
        table(
            "spectrum",
            "error",
            "alignment",
            column("seconds", "spectrum"),
            *COSTS,
            title="Against the exact kernel, and what a network costs",
            caption="Relative error in spectral norm, least alignment of a leading eigenvector; "
            "seconds for the spectrum; cost of a network of finite width on all samples.",
        ),
        replace(_LEADING, caption="By rank: one for each class, one for the norms of the samples."),
    ),
)


def run(config: KernelSpectrumConfig, job: Job) -> Iterator[Row]:
    """Compute one spectrum, and with the exact one measure whether the theory is about the data."""
    if job.arm == "exact":
        (name,) = config.data
        measured = applicability(config.draw(name, job.seed).x)
        told = understood(name, config.label, config.drop or (), config.scaling)
        yield {"kind": "data", "data": name, **asdict(measured), "understood": told}
    yield from EXPERIMENT.run(config, job)


def judge(config: KernelSpectrumConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the equations give the kernel here, and which network has it."""

    def of(arm: str, field: str) -> float:
        return median_of(rows, field, "spectrum", arm=arm)

    name, kernel = Path(config.data[0]).name, f"the {config.kind} kernel of the DEQ"
    leading, bulk = of("equivalent", "leading_error"), of("equivalent", "bulk_error")
    found = f"leading eigenvalues within {share(leading)}, eigenvectors aligned to "
    found += f"{of('equivalent', 'alignment'):.2f}"
    measured, details = _measured(rows), [_network(rows)]
    outcome: Outcome
    near = leading <= NEAR and of("equivalent", "alignment") >= ALIGNED
    if reasons := [] if name == "mixture" else list(measured.reasons()):
        outcome = "undecided"
        sentence = (
            f"The high-dimensional theory does not apply to {name}: {reasons[0]}. "
            f"{_advice(config, measured)}"
        )
        details += [f"Beside that, {reason}." for reason in reasons[1:]]
        if near:
            details.append(f"All the same its equations come near {kernel} here: {found}.")
    elif not near:
        outcome = "does not hold here"
        sentence = f"On {name} four equations do not give {kernel}: {found}."
    elif bulk > NEAR:
        outcome = "holds partly"
        sentence = (
            f"On {name} four equations give what matters of {kernel} ({found}), and not its many "
            f"small eigenvalues, which are off by {share(bulk)} in the median."
        )
    else:
        outcome, sentence = "holds", f"On {name} four equations give {kernel}: {found}."
    return Verdict(outcome=outcome, sentence=sentence, details=(*details, *_understood(rows)))


def _understood(rows: Sequence[Row]) -> list[str]:
    told = select(rows, "data")[0]["understood"]
    return [f"{told}."] if told else []


def _measured(rows: Sequence[Row]) -> Applicability:
    """Return what was measured of the first draw."""
    row = select(rows, "data")[0]
    return Applicability(**{field: row[field] for field in Applicability.__annotations__})


def _advice(config: KernelSpectrumConfig, measured: Applicability) -> str:
    if config.scaling == AS_IS:
        return "Leave out --as-is, so that no column outweighs the others."
    if measured.has_heavy_tails and not measured.is_of_few_dimensions:
        return "Take logarithms of columns that span powers of ten, or clip them."
    return "Take the exact kernel, or the explicit network below, which need no such theory."


def _network(rows: Sequence[Row]) -> str:
    """Say which explicit network has the kernel, how nearly, and what it saves."""
    error = median_of(rows, "error", "spectrum", arm="matched")
    (matched, *_) = select(rows, "spectrum", arm="matched")
    has = "has the same kernel" if error <= ALIKE else "comes nearest to the kernel"
    layers = _LONG.sub(lambda number: f"{float(number[0]):.4g}", matched["layers"])
    told = f"An explicit network {has}, with an error of {100 * error:.2g} %: {layers}."
    timed = [row for row in select(rows, "spectrum") if "flops" in row]
    if {"exact", "matched"} <= {row["arm"] for row in timed}:
        ratios = [
            median_of(timed, cost, "spectrum", arm="exact")
            / median_of(timed, cost, "spectrum", arm="matched")
            for cost in COSTS
        ]
        told += (
            f" At equal width the DEQ takes {ratios[0]:.1f} times its FLOPs and "
            f"{ratios[1]:.1f} times its time."
        )
    return told


def experiment_for(config: KernelSpectrumConfig) -> Experiment[KernelSpectrumConfig]:
    """Return the experiment that answers for the data of a config."""
    name = Path(config.data[0]).name
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
        page=_PAGE,
        run=run,
        judge=judge,
    )
