"""Gradient flow on diagonal linear DEQs against its closed-form limit, and how dense that is.

Published: gradient flow on a diagonal linear DEQ has an implicit regularisation that favours dense
features. Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity
and Learning Dynamics". Derived: the flow ends at the fit that is closest to its start in the
Bregman divergence of sum_i 1 / (6 beta_i^2); see `deqlab.bias`.

Expected: flow, prediction and a DEQ that is trained step by step agree. Whether their limit is
denser than those of linear regression and of a diagonal net is asked twice: from the start that is
usual for each, and from one start for all, for models that start dense tend to end dense.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from deqlab.bias.density import participation_ratio
from deqlab.bias.descent import descend
from deqlab.bias.flow import gradient_flow
from deqlab.bias.minimum import closest_fit, kkt_residual
from deqlab.bias.parametrisations import Gated, Linear, Parametrisation, Product, Recurrent
from deqlab.experiments.base import Experiment, Job, Row, cross
from deqlab.experiments.bias.diagonal_flow_report import DEQS, PAGE, verdict
from deqlab.experiments.config import Config, check_at_least, check_increasing, require

Data: TypeAlias = tuple[Float[np.ndarray, "m n"], Float[np.ndarray, " m"]]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A linear model that competes.

    Attributes:
        label: What the report calls it.
        model: Its parametrisation.
        usual: The s of the coefficients s (1, .., 1) at which it is started by default.
    """

    label: str
    model: Parametrisation
    usual: float


ARMS = {
    # w = 0
    "deq": Model(label="DEQ z = w z + x", model=Recurrent(), usual=1.0),
    # u = 0
    "gated": Model(label="DEQ z = w z + u x", model=Gated(), usual=0.0),
    "linear": Model(label="Linear regression", model=Linear(), usual=0.0),
    # u = v = 0 is a saddle; 0.1 is a common small start.
    "net": Model(label="Diagonal net u v", model=Product(), usual=0.01),
}


@dataclass(frozen=True, kw_only=True)
class DiagonalFlowConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of the data for each.
        features: n.
        samples: m, below n.
        scales: Starts s of all coefficients, increasing, at least 0.1 (below it the flow of a DEQ
            takes 1 / s^3 times as long, and its limit changes little).
        share: The share of a stable step that gradient descent takes at the start, in (0, 1].
        max_steps: The most steps of gradient descent.
    """

    features: int = 20
    samples: int = 8
    scales: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    share: float = 0.02
    max_steps: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "samples", "max_steps")
        require(
            self.samples < self.features,
            f"samples must be below features for the limit to depend on the start, got "
            f"{self.samples} and {self.features}",
        )
        check_increasing(self, "scales", least=0.1, most=100)
        require(0 < self.share <= 1, f"share must be in (0, 1], got {self.share}")


def draw(seed: int, *, samples: int, features: int) -> Data:
    """Return Gaussian inputs, and the targets of coefficients drawn from [1/2, 2]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, features))
    return x, x @ rng.uniform(0.5, 2, size=features)


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


def _point(arm: Model, scale: float, data: Data) -> Row:
    """Return what the flow from one start shows."""
    x, y = data
    start = arm.model.start(scale, x.shape[1])
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


def _closest(arm: Model, scale: float, data: Data) -> Float[np.ndarray, " n"]:
    x, y = data
    start = arm.model.start(scale, x.shape[1])
    return closest_fit(arm.model.potential(start), arm.model.coefficients(start), x, y).coefficients


def _trained(config: DiagonalFlowConfig, arm: Model, data: Data) -> Row:
    x, y = map(torch.from_numpy, data)
    start = arm.model.start(1.0, config.features)
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
    page=PAGE,
    plan=cross(ARMS),
    run=run,
    judge=lambda config, rows: verdict(rows, scales=config.scales),
)
