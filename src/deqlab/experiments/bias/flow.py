"""Gradient flow on diagonal linear DEQs against its closed-form limit, and how dense that is.

Published: gradient flow on a diagonal linear DEQ has an implicit regularisation that favours dense
features. Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity
and Learning Dynamics". Derived: the flow ends at the fit that is closest to its start in the
Bregman divergence of sum_i 1 / (6 beta_i^2); see `deqlab.bias`.

Expected: flow, prediction and a DEQ that is trained step by step agree. Whether their limit is
denser than those of linear regression and of a diagonal net is asked twice: from the start that is
usual for each, and from one start for all, for models that start dense tend to end dense.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from jaxtyping import Float

from deqlab.bias import closest_fit, gradient_flow, kkt_residual, participation_ratio
from deqlab.experiments.base import (
    Chart,
    Column,
    Experiment,
    Job,
    Outcome,
    Page,
    Row,
    Table,
    Verdict,
    check_at_least,
    check_seeds,
    require,
    summaries,
)
from deqlab.experiments.bias.arms import ARMS, DEQS, Arm, Data, draw, tensors
from deqlab.experiments.bias.descent import descend

AGREES = 0.01
"""Largest relative distance from the closed form that counts as agreement."""

STATIONARY, CONSERVED = 1e-6, 1e-8
"""Largest KKT residual of a limit, and largest drift of what a flow conserves."""

OTHERS = ("linear", "net")


@dataclass(frozen=True, kw_only=True)
class DiagonalFlowConfig:
    """The fields of the experiment.

    Attributes:
        seeds: One draw of the data for each.
        features: n.
        samples: m, below n.
        scales: Starts s of all coefficients, increasing, at least 0.1 (below it the flow of a DEQ
            takes 1 / s^3 times as long, and its limit changes little).
        share: Of a stable step that gradient descent takes at the start, in (0, 1].
        max_steps: Of gradient descent.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    features: int = 20
    samples: int = 8
    scales: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    share: float = 0.02
    max_steps: int = 2000

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        check_at_least(self, 1, "samples", "max_steps")
        require(
            self.samples < self.features,
            f"samples must be below features for the limit to depend on the start, got "
            f"{self.samples} and {self.features}",
        )
        increasing = sorted(set(self.scales)) == list(self.scales)
        require(
            len(self.scales) > 0 and increasing and 0.1 <= self.scales[0] <= self.scales[-1] <= 100,
            f"scales needs increasing numbers from 0.1 to 100, got {list(self.scales)}",
        )
        require(0 < self.share <= 1, f"share must be in (0, 1], got {self.share}")


def check(config: DiagonalFlowConfig) -> None:
    """The data is made, not loaded: nothing can be absent."""


def plan(config: DiagonalFlowConfig, rows: Sequence[Row]) -> list[Job]:
    """Return one job per model and seed."""
    return [Job(arm=arm, seed=seed) for arm in ARMS for seed in config.seeds]


def run(config: DiagonalFlowConfig, job: Job) -> Iterator[Row]:
    """Follow the flow from every start, and train the DEQs from the usual one of w = 0."""
    arm = ARMS[job.arm]
    data = draw(job.seed, samples=config.samples, features=config.features)
    points = [_point(arm, scale, data) for scale in config.scales]
    yield from points
    drifts = [point["drift"] for point in points if "drift" in point]
    yield {
        "kind": "summary",
        "label": arm.label,
        "matching": None if job.arm == "deq" else "data",
        "usual_scale": arm.usual,
        "usual_density": _density(_closest(arm, arm.usual, data)),
        "kkt": max(point["kkt"] for point in points),
        "prediction_error": max(point["prediction_error"] for point in points),
        **({"drift": max(drifts)} if drifts else {}),
        **(_trained(config, arm, data) if job.arm in DEQS else {}),
    }


def _point(arm: Arm, scale: float, data: Data) -> Row:
    """Return what the flow from one start shows."""
    x, y = data
    start = arm.start(scale, x.shape[1])
    flow = gradient_flow(arm.model, start, x, y)
    potential, first = arm.model.potential(start), arm.model.coefficients(start)
    row: Row = {
        "kind": "point",
        "scale": scale,
        "density": _density(flow.limit),
        "kkt": kkt_residual(potential, first, x, y, flow.limit),
        "prediction_error": relative_distance(flow.limit, _closest(arm, scale, data)),
    }
    conserved = np.stack([arm.model.conserved(p) for p in flow.parameters])
    if conserved.size:
        # Relative to its size where that is large: a start at 10 conserves 100.
        size = np.maximum(1, np.abs(conserved[0]))
        row["drift"] = float((np.abs(conserved - conserved[0]) / size).max())
    return row


def _closest(arm: Arm, scale: float, data: Data) -> Float[np.ndarray, " n"]:
    x, y = data
    start = arm.start(scale, x.shape[1])
    return closest_fit(arm.model.potential(start), arm.model.coefficients(start), x, y).coefficients


def _trained(config: DiagonalFlowConfig, arm: Arm, data: Data) -> Row:
    x, y = tensors(data)
    start = arm.start(1.0, config.features)
    descent = descend(arm.model, start, x, y, share=config.share, max_steps=config.max_steps)
    measured = descent.coefficients.numpy()
    return {
        "trained_error": relative_distance(measured, _closest(arm, 1.0, data)),
        "closed_form_error": relative_distance(measured, descent.closed_form.numpy()),
        "trained_fit": descent.fit,
        "trained_steps": descent.steps,
        "residual": descent.residual,
        "converged": descent.converged,
    }


def relative_distance(found: Float[np.ndarray, " n"], exact: Float[np.ndarray, " n"]) -> float:
    """Return |found - exact| / |exact|."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _density(beta: Float[np.ndarray, " n"]) -> float:
    return participation_ratio(torch.from_numpy(beta)).item()


def verdict(config: DiagonalFlowConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the closed form holds, and whether the DEQ is the densest model."""
    last = summaries(rows)
    trained = max(row["trained_error"] for row in last if row["arm"] in DEQS)
    kkt = max(row["kkt"] for row in last)
    error = max(row["prediction_error"] for row in last)
    drift = max(row["drift"] for row in last if "drift" in row)
    solved = min(row["converged"] for row in last if row["arm"] in DEQS)
    exact = kkt < STATIONARY and drift < CONSERVED and max(trained, error) < AGREES and solved == 1
    usual = {arm: [r["usual_density"] for r in last if r["arm"] == arm] for arm in ARMS}
    densest = _beats(usual)
    wins = {scale: _beats(_densities(rows, scale)) for scale in config.scales}
    always = densest and all(wins.values())
    outcome: Outcome = "does not hold here"
    if exact:
        outcome = "holds" if always else "holds partly"
    sentence = (
        f"The closed form {'holds' if exact else 'fails'}: a DEQ trained by gradient descent ends "
        f"within {100 * trained:.2g} % of it, the flow within {error:.1g}. From its usual start "
        f"(w = 0) the DEQ z = w z + x is {'the densest' if densest else 'not the densest'} "
        f"({_told(usual)}); from equal starts it is denser than linear regression and the diagonal "
        f"net at {sum(wins.values())} of {len(wins)} scales."
    )
    details = [
        f"KKT residual at most {kkt:.1g}, drift of u^2 + (1 - w)^2 and u^2 - v^2 at most "
        f"{drift:.1g}.",
        *(
            f"From s = {scale:g}: density {_told(_densities(rows, scale))}."
            for scale in config.scales
        ),
    ]
    return Verdict(outcome=outcome, sentence=sentence, details=tuple(details))


def _densities(rows: Sequence[Row], scale: float) -> dict[str, list[float]]:
    return {
        arm: [
            row["density"]
            for row in rows
            if row["kind"] == "point" and row["arm"] == arm and row["scale"] == scale
        ]
        for arm in ARMS
    }


def _beats(densities: dict[str, list[float]]) -> bool:
    """Whether the DEQ is denser than both others at every seed."""
    rivals = zip(densities["deq"], *(densities[arm] for arm in OTHERS), strict=True)
    return all(ours > max(theirs) for ours, *theirs in rivals)


def _told(densities: dict[str, list[float]]) -> str:
    return ", ".join(f"{arm} {median(of):.3f}" for arm, of in densities.items())


EXPERIMENT = Experiment(
    name="diagonal-flow",
    title="Gradient flow on a diagonal linear DEQ against its closed form",
    claim="Gradient flow on a diagonal linear DEQ ends at the fit that is closest to its start in "
    "the Bregman divergence of the sum of 1 / (6 beta^2), and so favours dense features.",
    source="Wu et al. (2024), the implicit regularisation of diagonal linear DEQs; the potentials "
    "and the comparison from equal starts are deqlab's.",
    origin="derived",
    presets={
        "smoke": DiagonalFlowConfig(
            seeds=(0,), features=4, samples=1, scales=(0.5, 1.0), share=0.1
        ),
        "quick": DiagonalFlowConfig(),
        "full": DiagonalFlowConfig(
            seeds=tuple(range(16)), scales=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
        ),
    },
    page=Page(
        charts=(
            Chart(
                title="Density of the limit against the start",
                caption="Participation ratio of the coefficients; all start at s (1, .., 1).",
                rows="point",
                x="scale",
                y="density",
                x_label="coefficients s at the start",
                y_label="density of the limit",
                x_scale="log",
            ),
            Chart(
                title="Distance of the flow from the predicted limit",
                caption="Relative; the prediction solves a constrained minimisation.",
                rows="point",
                x="scale",
                y="prediction_error",
                x_label="coefficients s at the start",
                y_label="relative distance",
                x_scale="log",
                y_scale="log",
            ),
        ),
        tables=(
            Table(
                title="Closed form against flow and training",
                caption="Worst start of each seed; trained from s = 1 (w = 0) by gradient descent, "
                "its coefficients measured as answers of the network.",
                rows="summary",
                columns=(
                    Column(field="kkt", label="KKT residual", format="number"),
                    Column(field="prediction_error", label="flow, distance", format="number"),
                    Column(field="drift", label="drift of the conserved", format="number"),
                    Column(field="trained_error", label="trained, distance", format="percent"),
                    Column(field="trained_steps", label="steps", format="integer"),
                    Column(field="residual", label="solve residual", format="number"),
                    Column(field="converged", label="converged", format="percent"),
                ),
            ),
            Table(
                title="Density from the usual start",
                caption="DEQ w = 0; with input weights u = 0; regression 0; net u = v = 0.1.",
                rows="summary",
                columns=(
                    Column(field="usual_scale", label="start s", format="number"),
                    Column(field="usual_density", label="density", format="number"),
                ),
            ),
            Table(
                title="Density from equal starts",
                caption="By model and start.",
                rows="point",
                columns=(Column(field="density", label="density", format="number"),),
                by="scale",
            ),
        ),
    ),
    check=check,
    plan=plan,
    run=run,
    judge=verdict,
)
