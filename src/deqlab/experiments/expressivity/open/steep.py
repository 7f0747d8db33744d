"""The open problem on steep functions: a width-10 ReLU DEQ on a ramp, trained, against every FNN.

Asked here: is there a way to train a DEQ of width 10, solved to its own equilibrium, on the ramp
g(x) = clip(x / delta, 0, 1) with delta = 2^-d, so that its median test loss is below that of every
FNN of equal training FLOPs? The DEQ is z = relu(W z + U x + b), y = v'z + c with lower triangular W
and loops below 1, which holds the ramp with norms of at most 2; see `expressivity.steep_ramp`.

Expected: no. An FNN of one layer and two neurons is the ramp exactly, and a loop changes no
function that a DEQ may have: what differs in loss is only how training goes, and where it goes
well, losses tie at rounding. What is known to differ is how large weights must be: FNNs of L hidden
layers need a norm of about 2^(d / (L + 1)), and a DEQ needs 2. So norms are measured too, and told;
the verdict is on the losses.

Half of the points are within 4 delta of the step, see `tasks.steep`. Each stage has its own, and
new ones: kinks between two points, which a loss cannot see, are seen at the next stage. All arms
have the same, and test points are others. Nothing is chosen by the test loss in a run; the recipes
themselves were sought with test losses in view, on seeds that are not run. Everything is in
float64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.experiments.base import Experiment, Job, Row, Verdict
from deqlab.experiments.comparing.regression import TEST_SEED
from deqlab.experiments.config import require
from deqlab.experiments.expressivity.open import entrants, steep_norms, steep_routes, verdict
from deqlab.experiments.expressivity.open.competition import FRESH
from deqlab.experiments.expressivity.open.entrants import solved
from deqlab.experiments.expressivity.open.page import STEEP
from deqlab.experiments.expressivity.open.steep_config import OpenSteepConfig
from deqlab.expressivity import largest_infinity_norm, smallest_infinity_norm
from deqlab.expressivity.search.modules import as_module
from deqlab.expressivity.search.stages import Data, Route
from deqlab.tasks import steep

_TRAIN_SEED = TEST_SEED - 2
"""Of the training points, less d. Networks are drawn from generators of their own."""


def check(config: OpenSteepConfig) -> None:
    """Raise ValueError if an FNN of the depths costs more than the DEQ at width 1."""
    require(len(config.fnns) > 0, "depths needs one or more entries")


def plan(config: OpenSteepConfig, rows: Sequence[Row]) -> list[Job]:
    """Return one job per route, network and seed."""
    arms = [arm for route in config.routes for arm in entrants.arms(config, route)]
    return entrants.plan(config, arms)


def run(config: OpenSteepConfig, job: Job) -> Iterator[Row]:
    """Yield a row of kind "stage" for each stage, and the summary."""
    train, test = _training(config), _testing(config)
    stages = entrants.trained(
        _route(config, job, train),
        train=train,
        test=test,
        steps=config.steps,
        name=job.settings["route"],
        number="d",
    )
    rows = []
    for row, stage in stages:
        rows.append(row)
        network = stage.network
        yield row
    x, y = test(config.log2_steepness)
    measured = {
        "network": entrants.network(config, job.settings),
        **_tested(as_module(network), x[:, None], y[:, None]),
        **entrants.costs(network.wiring, config.train_samples, rows),
    }
    if not network.wiring.dense:
        measured["bound"] = smallest_infinity_norm(
            run=2.0**-config.log2_steepness,
            depth=len(network.wiring.levels),
            error=measured["error"],
        )
    number = ("log2_steepness", config.log2_steepness)
    yield entrants.summary(job, entrants.label(config, job.settings), number, measured)


def judge(config: OpenSteepConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ beats every FNN, and the norms; see `verdict` and `steep_norms`."""
    d, least = config.log2_steepness, verdict.floor(config.log2_steepness)
    losses = verdict.judge(
        rows,
        subject=f"On a ramp of slope 2^{d}",
        least=least,
        recipes=dict.fromkeys(("steepening", "growth"), "a ramp of width delta / 2 is g(2 x)"),
    )
    return replace(
        losses,
        sentence=losses.sentence + steep_norms.sentence(rows, least),
        details=(*losses.details, *steep_norms.details(rows, least)),
    )


def _route(config: OpenSteepConfig, job: Job, data: Data) -> Route:
    wiring = entrants.wiring_of(job.settings)
    generator = torch.Generator().manual_seed(job.seed)
    match job.settings["route"]:
        case "plain":
            return steep_routes.plain(config, wiring, data, generator)
        case "curriculum":
            return steep_routes.curriculum(config, wiring, data, generator)
        case "steepening":
            return steep_routes.steepening(config, wiring, data, generator)
        case "growth":
            return steep_routes.growth(config, wiring, generator)
    noise = job.settings["noise"]
    return steep_routes.construction(config, dense=wiring.dense, noise=noise, generator=generator)


def _training(config: OpenSteepConfig) -> Data:
    """Return the training points of each d, which are others than those of the next."""
    return lambda d: _points(config.train_samples, d, _TRAIN_SEED - d)


def _testing(config: OpenSteepConfig) -> Data:
    return lambda d: _points(config.test_samples, d, TEST_SEED)


def _points(num_samples: int, d: int, seed: int) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    x, y = steep.sample(
        num_samples,
        curve=steep.Ramp(2.0**-d),
        delta=2.0**-d,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    return x[:, 0], y[:, 0]


def _tested(module: nn.Module, x: Float[Tensor, "N 1"], y: Float[Tensor, "N 1"]) -> Row:
    output, solve = solved(module, x)
    return {
        "test_loss": (output - y).square().mean().item(),
        "error": (output - y).abs().amax().item(),
        "norm": largest_infinity_norm(module),
        **solve,
    }


_FULL = OpenSteepConfig()

EXPERIMENT = Experiment(
    name="open-steep",
    title="Open problem: a trained DEQ against every feed-forward network on a steep ramp",
    claim="A width-10 ReLU DEQ, solved to its own equilibrium, can be trained on a ramp of slope "
    "2^d to a smaller median test loss than every FNN of equal training FLOPs.",
    source="Asked here, of Wu et al. (2024), Figures 1(b, e) and 4; the function is deqlab's own, "
    "and the recipes are derived.",
    origin="asked",
    presets={
        "smoke": replace(
            _FULL,
            seeds=(0,),
            log2_steepness=3,
            width=3,
            depths=(1, 2),
            train_samples=64,
            test_samples=64,
            steps_per_stage=10,
            noises=(1e-2,),
            candidates=4,
        ),
        "quick": replace(
            _FULL,
            seeds=FRESH[:3],
            log2_steepness=10,
            train_samples=1000,
            steps_per_stage=60,
            noises=(1e-2,),
        ),
        "full": _FULL,
    },
    page=STEEP,
    check=check,
    plan=plan,
    run=run,
    judge=judge,
)
