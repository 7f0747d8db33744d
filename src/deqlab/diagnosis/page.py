"""A diagnosis as a run directory, of which `deqlab report` makes a page.

Its claim is that all is well, its verdict the first finding, and its details the others. The arms
are what was compared: solvers, gradients, and f itself.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deqlab.diagnosis.findings import Diagnosis, Rank
from deqlab.diagnosis.measurements import Measurements
from deqlab.diagnosis.probes.solvers import SolverRun
from deqlab.diagnosis.subject import DiagnosisError
from deqlab.diagnosis.wording import middle, worst
from deqlab.report.html import render
from deqlab.runs.environment import describe
from deqlab.runs.records import FORMAT, Job, Outcome, Row, Verdict
from deqlab.runs.rundir import RunDirectory
from deqlab.runs.writing import write_whole

OUTCOMES: dict[Rank, Outcome] = {
    Rank.ALARM: "does not hold here",
    Rank.WARNING: "holds partly",
    Rank.NOTE: "holds",
}

SHOWN = 64
"""Samples, and steps of a solve, that the page shows; of more, some are left out."""

REPORT: dict[str, Any] = {
    "charts": [
        {
            "kind": "line",
            "title": "Residual against steps",
            "caption": "The worst sample of each solver, in units of what its residual may be: "
            "below 1 every sample has converged.",
            "rows": "step",
            "x": "step",
            "y": "residual",
            "x_label": "step of the solver",
            "y_label": "residual / tolerance",
            "y_scale": "log",
        }
    ],
    "tables": [
        {
            "title": "Solvers",
            "caption": "From the same start to the same tolerance.",
            "rows": "solver",
            "by": "arm",
            "columns": [
                {"field": "converged", "label": "converged", "format": "percent"},
                {"field": "evaluations", "label": "evaluations of f", "format": "integer"},
                {"field": "products", "label": "products with J", "format": "integer"},
                {"field": "seconds", "label": "time", "format": "seconds"},
            ],
        },
        {
            "title": "Gradients",
            "caption": "Relative errors of v = (I - J')^-1 u for a random cotangent u.",
            "rows": "gradient",
            "by": "arm",
            "columns": [
                {"field": "error", "label": "error, median sample", "format": "number"},
                {"field": "error_max", "label": "error, worst sample", "format": "number"},
                {"field": "cosine", "label": "cosine", "format": "number"},
                {"field": "products", "label": "products with J'", "format": "integer"},
            ],
        },
        {
            "title": "Fixed points by sample",
            "caption": "The spectral radius of J where the solver ends, and how many fixed points "
            "several starts find.",
            "rows": "sample",
            "by": "sample",
            "columns": [
                {"field": "radius", "label": "spectral radius", "format": "number"},
                {"field": "fixed_points", "label": "fixed points", "format": "integer"},
                {"field": "attracting", "label": "that attract", "format": "integer"},
            ],
        },
        {
            "title": "Cost of a step",
            "caption": "One solve and its backward pass.",
            "rows": "cost",
            "by": "part",
            "columns": [
                {"field": "share", "label": "share", "format": "percent"},
                {"field": "seconds", "label": "time", "format": "seconds"},
            ],
        },
    ],
}


def write_page(diagnosis: Diagnosis, folder: Path, command: str = "deqlab.diagnose") -> Path:
    """Write a diagnosis to a new folder, and a page of it that opens in a browser.

    Args:
        diagnosis: What was found.
        folder: Where to; it must be empty, or not there yet.
        command: What the page shows as the command that made it.

    Returns:
        The page, `report.html` in the folder.

    Raises:
        DiagnosisError: The folder is not empty.
        RunError: It cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise DiagnosisError(f"{folder} is not empty; a diagnosis goes to a folder of its own")
    run = RunDirectory.open(folder, _description(diagnosis))
    try:
        run.begin_session(describe(command, jobs=1))
        for arm, rows in _arms(diagnosis.measurements):
            run.append(Job(arm=arm, seed=0), rows)
        run.finish(_verdict(diagnosis))
    finally:
        run.close()
    page = folder / "report.html"
    write_whole(page, render([folder]))
    return page


def _description(diagnosis: Diagnosis) -> dict[str, Any]:
    measured, name = diagnosis.measurements, diagnosis.name
    runs = list(measured.solvers.values())
    return {
        "format": FORMAT,
        "experiment": "diagnose",
        "title": f"Diagnosis of {name}",
        "claim": f"{name} has one fixed point a sample, its solver finds it, and its gradient is "
        "true.",
        "source": "asked by deqlab diagnose",
        "origin": "asked",
        "preset": "asked",
        "config": {
            "name": name,
            "samples": measured.samples,
            "size": measured.size,
            "solver": repr(runs[0].solver) if runs else None,
            "gradient": None if measured.gradients is None else measured.gradients.chosen,
        },
        "report": REPORT,
    }


def _verdict(diagnosis: Diagnosis) -> Verdict:
    first, *others = diagnosis.findings
    heading, colon, reason = first.sentence.rstrip(".").partition(": ")
    rest = (reason[:1].upper() + reason[1:] + "." if colon else "", first.advice)
    under = " ".join(text for text in rest if text)
    details = tuple(text for text in (under, *map(str, others)) if text)
    return Verdict(outcome=OUTCOMES[first.rank], sentence=f"{heading}.", details=details)


def _arms(measured: Measurements) -> Iterator[tuple[str, list[Row]]]:
    """Yield what was compared, with its rows, the last of which is its summary."""
    for number, (name, run) in enumerate(measured.solvers.items()):
        rows = [*_steps(run), _solver(run)]
        yield name, [*rows, _summary(name, "another solver" if number else None)]
    if measured.solvers:
        steps = [{"kind": "step", "step": step, "residual": 1.0} for step in _span(measured)]
        yield "tolerance", [*steps, _summary("the tolerance", "the tolerance")]
    if measured.gradients is not None:
        for name, error in measured.gradients.by_name.items():
            row = {
                "kind": "gradient",
                "error": middle(error.error),
                "error_max": worst(error.error)[1],
                "cosine": middle(error.cosine),
                "products": error.products,
            }
            yield f"gradient {name}", [row, _summary(f"{name} gradient", "another gradient")]
    yield "f", [*_samples(measured), *_parts(measured), _summary("f", "the map")]


def _summary(label: str, matching: str | None) -> Row:
    return {"kind": "summary", "label": label, "matching": matching}


def _steps(run: SolverRun) -> list[Row]:
    """Return the worst ratio of residual to tolerance over the samples that count."""
    counted = run.counted
    if not bool(counted.any()):
        return []
    tolerance = run.tolerance[counted].clamp_min(torch.finfo(torch.float64).tiny)
    ratio = (run.trace[:, counted] / tolerance).amax(dim=1)
    stride = math.ceil(len(ratio) / SHOWN)
    shown = sorted({*range(0, len(ratio), stride), len(ratio) - 1} - {-1})
    return [{"kind": "step", "step": i + 1, "residual": ratio[i].item()} for i in shown]


def _span(measured: Measurements) -> list[int]:
    return [1, max(2, *(len(run.trace) for run in measured.solvers.values()))]


def _solver(run: SolverRun) -> Row:
    return {
        "kind": "solver",
        "converged": run.converged[run.counted].double().mean().item(),
        "evaluations": run.evaluations,
        "products": run.products,
        "seconds": run.seconds,
    }


def _samples(measured: Measurements) -> list[Row]:
    seen = measured.equilibria
    if seen is None:
        return []
    radius = seen.eigenvalue.abs()
    counts: list[tuple[str, Tensor]] = [
        ("fixed_points", seen.count),
        ("attracting", seen.attracting),
    ]
    return [
        {
            "kind": "sample",
            "sample": i,
            "radius": radius[i].item(),
            **{name: int(of[i]) for name, of in counts},
        }
        for i in range(min(SHOWN, len(radius)))
    ]


def _parts(measured: Measurements) -> list[Row]:
    if measured.cost is None:
        return []
    whole = measured.cost.step
    return [
        {"kind": "cost", "part": name, "seconds": value, "share": value / whole}
        for name, value in measured.cost.parts.items()
    ]
