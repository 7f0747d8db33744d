"""How large weights become where a network learns a steep function.

Every network trains on a step of width 2^-d until its largest error on the test points is within
the tolerance, for one d after the other, always from new weights; then its largest infinity norm
is noted; of several learning rates the one that takes the fewest steps counts, and where none gets
there, training starts again from other weights, a few times. So all norms are of networks with
comparable errors, and those that never get there have none; after two misses in a row an arm is not
tried, at that seed, on steeper functions. With that error eps a feed-forward network (FNN) of L
hidden layers has

    max_l |W_l|_inf >= ((1 - 2 eps) 2^d)^(1 / (L + 1)),

whatever its width (derived, see `expressivity.bounds`), which is drawn beside it. The rational
curve rises by w / (w + delta) over a run of w, so that of its bounds the largest counts: of

    (w / (w + delta) - 2 eps) / w    at    w = delta root / (1 - root),    root = (2 eps)^(1/2),

or at the end of the interval if that is nearer. FNNs have the parameters of the DEQ. Published: the
norm of a DEQ stays small for d = 6, 8 .. 20 and that of FNNs does not. Source: Wu et al. (2024),
"Separation and Bias of Deep Equilibrium Models on Expressivity and Learning Dynamics", Figure 4;
the function and the settings are deqlab's own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from deqlab.experiments.base import Experiment, Job, Row, every_job
from deqlab.experiments.comparing import arms, matching
from deqlab.experiments.comparing.evidence import WELL_SOLVED
from deqlab.experiments.comparing.regression import RegressionConfig, full, smoke
from deqlab.experiments.comparing.supervised import Batch
from deqlab.experiments.config import (
    TEST_SEED,
    check_at_least,
    check_choice,
    check_increasing,
    require,
)
from deqlab.experiments.expressivity.steep_weights_report import PAGE, verdict
from deqlab.experiments.resuming import kept
from deqlab.expressivity.bounds import largest_infinity_norm, smallest_infinity_norm
from deqlab.stability.equilibria import Solves
from deqlab.tasks import steep
from deqlab.training.loop import Loop

MISSES = 2
"""The number of misses in a row after which an arm is not tried on steeper functions."""


@dataclass(frozen=True, kw_only=True)
class SteepWeightsConfig(RegressionConfig):
    """The fields of the experiment.

    Attributes:
        log2_steepness: The values of d, increasing.
        curve: "ramp" or "rational".
        tolerance: The largest error on the test points at which training ends, below 1/2.
        steps: The most training steps for each d, start and learning rate.
        starts: How many initial weights are tried at each d, until one gets there.
        check_every: Steps from one measurement of the error to the next.
    """

    log2_steepness: tuple[int, ...] = (6, 8, 10, 12, 14, 16, 18, 20)
    curve: str = "ramp"
    tolerance: float = 0.1
    check_every: int = 50
    starts: int = 3
    steps: int = 2000
    dtype: str = "float64"
    test_rtol: float = 1e-10
    solver: str = "newton"
    bound: float = 1.0
    gain: float = 1.0
    depths: tuple[int, ...] = (1, 2, 3)
    learning_rates: tuple[float, ...] = (3e-2,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "curve", steep.CURVES)
        check_at_least(self, 1, "check_every", "starts")
        check_increasing(self, "log2_steepness", least=0)
        require(
            self.cell is None and self.model is None,
            "steep-weights reads the weights of its own cell and FNNs, and takes no other",
        )
        require(
            0 < self.tolerance < 0.5,
            f"tolerance must be in (0, 1/2), got {self.tolerance}: from 1/2 on a constant will do",
        )
        for d in self.log2_steepness:
            steep.check_resolved(2.0**-d, arms.DTYPES[self.dtype])


def check(config: SteepWeightsConfig) -> None:
    """Raise BudgetError if no FNN has the DEQ's parameters."""
    matching.check(_shape(config))


def sample(
    config: SteepWeightsConfig, d: int, num_samples: int, generator: torch.Generator
) -> Batch:
    """Draw samples of the step of width 2^-d, half of them near it."""
    delta = 2.0**-d
    return steep.sample(
        num_samples,
        curve=steep.CURVES[config.curve](delta),
        delta=delta,
        generator=generator,
        dtype=arms.DTYPES[config.dtype],
    )


def plan(config: SteepWeightsConfig, rows: Sequence[Row]) -> list[Job]:
    """Return the DEQ, the FNNs of its parameters, and the bound for each depth."""
    trained = matching.plan(_shape(config), mse_loss, torch.zeros(config.batch_size, 1), [])
    bounds = {f"bound-{depth}": {"family": "bound", "depth": depth} for depth in config.depths}
    return [*trained, *every_job(bounds, config.seeds[:1])]


def run(config: SteepWeightsConfig, job: Job) -> Iterator[Row]:
    """Yield a row of kind "point" for each d, and the summary."""
    if job.settings["family"] == "bound":
        depth = job.settings["depth"]
        for d in config.log2_steepness:
            yield {"kind": "point", "d": d, "norm": bound(config, d, depth)}
        yield {"kind": "summary", "label": f"bound, depth {depth}", "matching": "bound"}
        return
    points: list[Row] = []
    for d in config.log2_steepness:
        if len(points) >= MISSES and not any(point["reached"] for point in points[-MISSES:]):
            break
        points.append(_point(config, job, d))
        yield {"kind": "point", **points[-1]}
    solved = [point["converged"] for point in points if "converged" in point]
    yield {
        "kind": "summary",
        "label": job.settings["label"],
        "matching": job.settings["matching"],
        "reached": sum(point["reached"] for point in points),
        "converged": min(solved) if solved else None,
    }


def bound(config: SteepWeightsConfig, log2_steepness: int, depth: int) -> float:
    """Return the least norm of an FNN of `depth` hidden layers within the tolerance."""
    delta, error = 2.0**-log2_steepness, config.tolerance
    run = delta
    if config.curve == "rational":  # its slope falls, and some run bounds the norm best
        root = (2 * error) ** 0.5
        run = min(1.0, delta * root / (1 - root))
    rise = steep.CURVES[config.curve](delta)(torch.tensor(run, dtype=torch.float64)).item()
    return smallest_infinity_norm(run=run, depth=depth, error=error, rise=rise)


def _point(config: SteepWeightsConfig, job: Job, d: int) -> Row:
    """Train from one start after the other, with every learning rate, until one gets there."""
    attempts: list[Row] = []
    for start in range(1, config.starts + 1):
        state = torch.get_rng_state()
        for rate in config.learning_rates:
            torch.set_rng_state(state)
            enough = min((row["steps"] for row in attempts if row["reached"]), default=config.steps)
            make = partial(_attempt, config, job, d, rate, enough)
            rows = kept(job, f"{d}-{start}-{rate!r}", make)
            attempts += [{"d": d, "start": start, **row} for row in rows]
        if any(row["reached"] for row in attempts):
            break
    return min(attempts, key=_rank)


def _rank(row: Row) -> tuple[bool, int, float]:
    error = math.inf if math.isnan(row["error"]) else row["error"]
    return not row["reached"], row["steps"], error


def _attempt(
    config: SteepWeightsConfig, job: Job, d: int, rate: float, num_steps: int
) -> Iterator[Row]:
    model = arms.build(_shape(config), job)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    generator = torch.Generator().manual_seed(job.seed)
    test = sample(config, d, config.test_samples, torch.Generator().manual_seed(TEST_SEED))
    batches = (sample(config, d, config.batch_size, generator) for _ in range(num_steps))

    def loss(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        x, y = batch
        return mse_loss(arms.forward(model, x)[0], y), None

    for step in Loop(loss=loss, optimizer=optimizer, schedule=schedule).run(batches):
        if step.index % config.check_every == 0 or step.index == num_steps:
            row = _tested(config, model, *test)
            if _is_reached(config, row):
                break
    norm, reached = largest_infinity_norm(model), _is_reached(config, row)
    yield {
        "learning_rate": rate,
        "steps": step.index,
        "reached": reached,
        "norm": norm if reached else None,
        "norm_at_the_end": norm,
        **row,
    }


def _tested(config: SteepWeightsConfig, model: nn.Sequential, x: Tensor, y: Tensor) -> Row:
    with torch.no_grad():
        output, solution = arms.forward(arms.solved_to_convergence(model, config), x)
        row: Row = {
            "error": (output - y).abs().amax().item(),
            "test_loss": mse_loss(output, y).item(),
        }
    solves = Solves()
    solves.add(solution)
    return row | solves.row("residual", "converged")


def _is_reached(config: SteepWeightsConfig, row: Row) -> bool:
    """Whether the error is within the tolerance, and that of a DEQ at its equilibrium."""
    solved = "converged" not in row or row["converged"] >= WELL_SOLVED
    return bool(row["error"] <= config.tolerance and solved)


def _shape(config: SteepWeightsConfig) -> arms.Shape:
    return arms.Shape(config=config, num_inputs=1, num_outputs=1)


_DEFAULT = SteepWeightsConfig()

EXPERIMENT = Experiment(
    name="steep-weights",
    title="Weights of DEQs and feed-forward networks on steep functions",
    claim="Where a function is steep, a DEQ that learns it keeps small weights, and feed-forward "
    "networks with comparable error do not.",
    source="Wu et al. (2024), Figure 4; the function and the settings are deqlab's own.",
    origin="published",
    presets={
        "smoke": replace(smoke(_DEFAULT), log2_steepness=(1, 2), steps=20, check_every=10),
        "quick": replace(_DEFAULT, log2_steepness=(6, 8, 10)),
        # With 2,000 steps and one start three DEQs of eight miss at d = 12, with 4,000 none.
        "full": replace(full(_DEFAULT, learning_rates=(1e-2, 3e-2)), steps=4000),
    },
    page=PAGE,
    check=check,
    plan=plan,
    run=run,
    judge=lambda config, rows: verdict(
        rows,
        log2_steepness=config.log2_steepness,
        num_seeds=len(config.seeds),
        tolerance=config.tolerance,
    ),
)
