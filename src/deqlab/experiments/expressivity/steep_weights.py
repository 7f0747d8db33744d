"""How large weights become where a network learns a steep function.

Every network trains on a step of width 2^-d until its largest error on the test points is within
the tolerance, for one d after the other, always from new weights; then its largest infinity norm
is noted. So all norms are of networks with comparable errors, and those that do not get there
within the steps have none. With that error eps a feed-forward network (FNN) of L hidden layers has

    max_l |W_l|_inf >= ((1 - 2 eps) 2^d)^(1 / (L + 1)),

whatever its width (derived, see `expressivity.bounds`), which is drawn beside it. FNNs have the
parameters of the DEQ. Published: the norm of a DEQ stays small for d = 6, 8 .. 20 and that of FNNs
does not. Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity
and Learning Dynamics", Figure 4; the function and the settings are deqlab's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

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
    check_choice,
    require,
    summaries,
)
from deqlab.experiments.comparing import arms
from deqlab.experiments.comparing.comparison import WELL_SOLVED
from deqlab.experiments.comparing.regression import RegressionConfig
from deqlab.experiments.comparing.supervised import relative_residual
from deqlab.experiments.expressivity.steep import CURVES, SteepConfig, sample
from deqlab.expressivity import largest_infinity_norm, smallest_infinity_norm

SURE = 10
"""Steepness up to which the claim is judged; beyond, whatever is measured is told."""

_TEST_SEED = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class SteepWeightsConfig(RegressionConfig):
    """The fields of the experiment.

    Attributes:
        log2_steepness: The values of d, increasing.
        curve: "ramp" or "rational".
        tolerance: Largest error on the test points at which training ends, below 1/2.
        steps: Training steps for each d at most.
        check_every: Steps from one look at the error to the next.
    """

    log2_steepness: tuple[int, ...] = (6, 8, 10, 12, 14, 16, 18, 20)
    curve: str = "ramp"
    tolerance: float = 0.1
    check_every: int = 50
    dtype: str = "float64"
    solver: str = "newton"
    bound: float = 1.0
    gain: float = 1.0
    depths: tuple[int, ...] = (1, 2, 3)
    learning_rates: tuple[float, ...] = (3e-2,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "curve", CURVES)
        check_at_least(self, 1, "check_every")
        increasing = sorted(set(self.log2_steepness)) == list(self.log2_steepness)
        require(
            len(self.log2_steepness) > 0 and increasing,
            f"log2_steepness needs one or more increasing numbers, got {list(self.log2_steepness)}",
        )
        require(
            0 < self.tolerance < 0.5,
            f"tolerance must be in (0, 1/2), got {self.tolerance}: from 1/2 on a constant will do",
        )
        require(
            len(self.learning_rates) == 1,
            f"learning_rates takes one number here, got {list(self.learning_rates)}",
        )
        for d in self.log2_steepness:
            self.at(d)

    def at(self, log2_steepness: int) -> SteepConfig:
        """Return what the samples of one d need to know."""
        return SteepConfig(
            log2_steepness=log2_steepness, curve=self.curve, dtype=self.dtype, width=self.width
        )


def check(config: SteepWeightsConfig) -> None:
    """Raise BudgetError if no FNN has the DEQ's parameters."""
    arms.check(_shape(config))


def plan(config: SteepWeightsConfig, rows: Sequence[Row]) -> list[Job]:
    """Return the DEQ, the FNNs of its parameters, and the bound for each depth."""
    trained = arms.plan(_shape(config), mse_loss, torch.zeros(config.batch_size, 1), [])
    bounds = [
        Job(
            arm=f"bound-{depth}", seed=config.seeds[0], settings={"family": "bound", "depth": depth}
        )
        for depth in config.depths
    ]
    return [*trained, *bounds]


def run(config: SteepWeightsConfig, job: Job) -> Iterator[Row]:
    """Yield a row of kind "point" for each d, and the summary."""
    if job.settings["family"] == "bound":
        depth = job.settings["depth"]
        for d in config.log2_steepness:
            norm = smallest_infinity_norm(run=2.0**-d, depth=depth, error=config.tolerance)
            yield {"kind": "point", "d": d, "norm": norm}
        yield {"kind": "summary", "label": f"bound, depth {depth}", "matching": "bound"}
        return
    points = []
    for d in config.log2_steepness:
        points.append(_point(config, job, d))
        yield {"kind": "point", **points[-1]}
    yield {
        "kind": "summary",
        "label": job.settings["label"],
        "matching": job.settings["matching"],
        "reached": sum(point["reached"] for point in points),
        "converged": min(point.get("converged", 1.0) for point in points),
    }


def _point(config: SteepWeightsConfig, job: Job, d: int) -> Row:
    model = arms.build(_shape(config), job)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rates[0])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    generator, task = torch.Generator().manual_seed(job.seed), config.at(d)
    test = sample(task, config.test_samples, torch.Generator().manual_seed(_TEST_SEED))
    for step in range(1, config.steps + 1):
        x, y = sample(task, config.batch_size, generator)
        optimizer.zero_grad()
        mse_loss(arms.forward(model, x)[0], y).backward()
        optimizer.step()
        schedule.step()
        if step % config.check_every == 0 or step == config.steps:
            row = _tested(config, model, *test)
            if row["error"] <= config.tolerance and row.get("converged", 1.0) >= WELL_SOLVED:
                break
    reached = row["error"] <= config.tolerance and row.get("converged", 1.0) >= WELL_SOLVED
    norm = largest_infinity_norm(model)
    return {
        "d": d,
        "steps": step,
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
    if solution is not None:
        row["residual"] = relative_residual(solution).median().item()
        row["converged"] = solution.converged.double().mean().item()
    return row


def judge(config: SteepWeightsConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ's norm is below the FNNs' for every d up to 10."""
    points = [row for row in rows if row["kind"] == "point"]
    names = {row["arm"]: row["label"] for row in summaries(rows) if row["matching"] != "bound"}
    norms = {
        (arm, d): [
            row["norm"]
            for row in points
            if (row["arm"], row["d"]) == (arm, d) and row["norm"] is not None
        ]
        for arm in names
        for d in config.log2_steepness
    }
    seeds = len(config.seeds)
    below, undecided, details = [], [], []
    for d in config.log2_steepness:
        deq = norms["deq", d]
        others = {arm: norms[arm, d] for arm in names if arm != "deq"}
        reached = [arm for arm, found in others.items() if found]
        told = [_told(names[arm], found, seeds) for arm, found in (("deq", deq), *others.items())]
        details.append(f"d = {d}: {'; '.join(told)}.")
        if d > SURE:
            continue
        if len(deq) < seeds or not reached:
            undecided.append(d)
        elif all(max(deq) < min(others[arm]) for arm in reached):
            below.append(d)
    judged = [d for d in config.log2_steepness if d <= SURE]
    sentence = (
        f"Trained to an error of {config.tolerance:g} at most, over {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}, the DEQ's largest infinity norm is below that of "
        f"every FNN that gets there for {len(below)} of {len(judged)} values of d up to {SURE}"
        f"{_range(norms, below)}; {_furthest(config, norms)}."
    )
    outcome: Outcome = "holds partly" if below else "does not hold here"
    if len(below) == len(judged) > 0:
        outcome = "holds"
    elif len(undecided) == len(judged):
        outcome = "undecided"
    return Verdict(outcome=outcome, sentence=sentence, details=tuple(details))


def _told(label: str, norms: Sequence[float], seeds: int) -> str:
    if not norms:
        return f"{label} never gets there"
    return (
        f"{label} has a norm of {median(norms):.3g} ({min(norms):.3g} to {max(norms):.3g}) at "
        f"{len(norms)} of {seeds} seeds"
    )


def _range(norms: dict[tuple[str, int], list[float]], below: Sequence[int]) -> str:
    if not below:
        return ""
    d = below[-1]
    fnn = [norm for (arm, at), found in norms.items() if arm != "deq" and at == d for norm in found]
    return f" (at d = {d}: {max(norms['deq', d]):.3g} at most against {min(fnn):.3g} at least)"


def _furthest(config: SteepWeightsConfig, norms: dict[tuple[str, int], list[float]]) -> str:
    done = [d for d in config.log2_steepness if len(norms["deq", d]) == len(config.seeds)]
    if not done:
        return "at no d does the DEQ get there at every seed"
    return f"the largest d at which the DEQ gets there at every seed is {max(done)}"


def _shape(config: SteepWeightsConfig) -> arms.Shape:
    return arms.Shape(config=config, num_inputs=1, num_outputs=1)


PAGE = Page(
    charts=(
        Chart(
            title="Largest infinity norm where the error is within the tolerance",
            caption="max |W|_inf of all matrices, when training ends; networks that do not get "
            "there are not drawn. The bounds are those of FNNs of any width.",
            rows="point",
            x="d",
            y="norm",
            x_label="d, for a step of width 2^-d",
            y_label="largest infinity norm",
            y_scale="log",
        ),
        Chart(
            title="Largest error at the end",
            caption="On the test points, half of them within four steps' width of the step.",
            rows="point",
            x="d",
            y="error",
            x_label="d, for a step of width 2^-d",
            y_label="largest error",
            y_scale="log",
        ),
    ),
    tables=(
        Table(
            title="At each steepness",
            caption="The residual and the share that converged are those of the test points.",
            rows="point",
            by="d",
            columns=(
                Column(field="norm", label="norm", format="number", better="lower"),
                Column(field="error", label="largest error", format="number"),
                Column(field="test_loss", label="test loss", format="number"),
                Column(field="steps", label="steps", format="integer"),
                Column(field="residual", label="relative residual", format="number"),
                Column(field="converged", label="converged", format="percent"),
            ),
        ),
    ),
)

_FULL = SteepWeightsConfig(seeds=tuple(range(8)), steps=5000)

EXPERIMENT = Experiment(
    name="steep-weights",
    title="Weights of DEQs and feed-forward networks on steep functions",
    claim="Where a function is steep, a DEQ that learns it keeps small weights, and feed-forward "
    "networks with comparable error do not.",
    source="Wu et al. (2024), Figure 4; the function and the settings are deqlab's own.",
    origin="published",
    presets={
        "smoke": replace(
            _FULL,
            seeds=(0,),
            width=4,
            depths=(1,),
            log2_steepness=(1, 2),
            steps=20,
            check_every=10,
            batch_size=32,
            test_samples=64,
        ),
        "quick": replace(_FULL, seeds=(0, 1, 2), log2_steepness=(6, 8, 10, 14), steps=1500),
        "full": _FULL,
    },
    page=PAGE,
    check=check,
    plan=plan,
    run=run,
    judge=judge,
)
