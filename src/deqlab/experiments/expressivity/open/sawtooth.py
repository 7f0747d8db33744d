"""The open problem: a width-10 ReLU DEQ on a sawtooth, trained, and better than every FNN.

Asked here: is there a way to train a DEQ of width 10, solved to its own equilibrium, on the
sawtooth with 2^k linear regions, so that its median test loss is below that of every FNN of equal
training FLOPs? Five routes are tried, each network with the same optimiser and steps as the others
of its route. Expected: from random weights none learns more than the mean; growth by feedback of
the output learns it to rounding, with a recipe that encodes s_k = T(s_(k-1)); FNNs as deep as k
then tie with it, as they must: a strictly triangular DEQ is an FNN with skips.

Training points are fixed and uniform, and so are test points, which are others. Nothing is chosen
by the test loss in a run; the recipes themselves were sought with test losses in view, on seeds
that are not run. Everything is in float64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.costs import num_parameters
from deqlab.experiments.base import Experiment, Job, Row, Verdict
from deqlab.experiments.comparing.regression import TEST_SEED
from deqlab.experiments.config import require
from deqlab.experiments.expressivity.open import entrants, monotone, routes, verdict
from deqlab.experiments.expressivity.open.competition import FRESH
from deqlab.experiments.expressivity.open.config import OpenConfig
from deqlab.experiments.expressivity.open.entrants import tested
from deqlab.experiments.expressivity.open.page import SAWTOOTH
from deqlab.expressivity.search.modules import as_module
from deqlab.expressivity.search.stages import Data, Route
from deqlab.tasks import sawtooth

_TRAIN_SEED = TEST_SEED - 2
"""Of the data. Networks are drawn from generators of their own."""


def check(config: OpenConfig) -> None:
    """Raise ValueError if an FNN of the depths costs more than the DEQ at width 1."""
    require(len(config.fnns) > 0, "depths needs one or more entries")


def plan(config: OpenConfig, rows: Sequence[Row]) -> list[Job]:
    """Return one job per route, network and seed."""
    arms = [arm for route in config.routes for arm in _arms(config, route)]
    return entrants.plan(config, arms)


def _arms(config: OpenConfig, route: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if route == "monotone":
        for penalty in config.penalties:
            yield f"monotone-{penalty:g}", {"route": route, "penalty": penalty}
        return
    yield from entrants.arms(config, route)


def run(config: OpenConfig, job: Job) -> Iterator[Row]:
    """Yield a row of kind "stage" for each stage, and the summary."""
    train = _points(config, config.train_samples, _TRAIN_SEED)
    test = _points(config, config.test_samples, TEST_SEED)
    if job.settings["route"] == "monotone":
        yield _monotone(config, job, train, test)
        return
    data = _family(train[0])
    stages = entrants.trained(
        _route(config, job, data),
        train=data,
        test=_family(test[0]),
        steps=config.steps,
        name=job.settings["route"],
        number="k",
    )
    rows = []
    for row, stage in stages:
        rows.append(row)
        network = stage.network
        yield row
    cost = entrants.costs(network.wiring, config.train_samples, rows)
    row = {**tested(as_module(network), *test), **cost}
    yield _summary(config, job, row, entrants.label(config, job.settings))


def _route(config: OpenConfig, job: Job, data: Data) -> Route:
    wiring = entrants.wiring_of(job.settings)
    generator = torch.Generator().manual_seed(job.seed)
    match job.settings["route"]:
        case "plain":
            return routes.plain(config, wiring, data, generator)
        case "curriculum":
            return routes.curriculum(config, wiring, data, generator)
        case "growth":
            return routes.growth(config, wiring, generator)
    noise = job.settings["noise"]
    return routes.construction(config, dense=wiring.dense, noise=noise, generator=generator)


def _monotone(
    config: OpenConfig, job: Job, data: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> Row:
    penalty = job.settings["penalty"]
    network, flops = monotone.trained(config, *data, penalty=penalty, seed=job.seed)
    row = {
        **tested(network, *test),
        "train_loss": tested(network, *data)["test_loss"],
        "parameters": num_parameters(network),
        "steps": config.adam_steps,
        "step_flops": flops / config.adam_steps,
        "flops": flops,
    }
    penalised = f", penalty {penalty:g}" if penalty else ""
    return _summary(config, job, row, f"DEQ of width {config.width} (monotone{penalised})")


def _summary(config: OpenConfig, job: Job, row: Row, label: str) -> Row:
    return entrants.summary(job, label, ("log2_regions", config.log2_regions), row)


def judge(config: OpenConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ beats every FNN; see `verdict`."""
    k = config.log2_regions
    return verdict.judge(
        rows,
        subject=f"On 2^{k} linear regions",
        least=verdict.floor(k),
        recipes={"growth": "s_k is T(s_(k-1))"},
        deep=k,
    )


def _points(
    config: OpenConfig, num_samples: int, seed: int
) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]:
    return sawtooth.sample(
        num_samples,
        log2_regions=config.log2_regions,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )


def _family(x: Float[Tensor, "N 1"]) -> Data:
    """Return the same points for every k."""
    return lambda k: (x[:, 0], sawtooth.evaluate(x[:, 0], log2_regions=k))


_FULL = OpenConfig()

EXPERIMENT = Experiment(
    name="open-sawtooth",
    title="Open problem: a trained DEQ against every feed-forward network on a sawtooth",
    claim="A width-10 ReLU DEQ, solved to its own equilibrium, can be trained on a sawtooth with "
    "2^k linear regions to a smaller median test loss than every FNN of equal training FLOPs.",
    source="Asked here, of Wu et al. (2024), Figure 1(a, d) and Table 1; the recipes are derived.",
    origin="asked",
    presets={
        "smoke": replace(
            _FULL,
            seeds=(0,),
            log2_regions=2,
            width=3,
            depths=(1, 2),
            train_samples=64,
            test_samples=64,
            steps_per_stage=10,
            candidates=4,
            noises=(1e-2,),
            adam_steps=4,
            batch_size=16,
            penalties=(1e-2,),
        ),
        "quick": replace(
            _FULL, seeds=FRESH[:3], steps_per_stage=40, noises=(1e-2, 1e-1), adam_steps=100
        ),
        "full": replace(_FULL, depths=(1, 2, 3, 4, 5, 7, 10)),
        "deep": replace(
            _FULL,
            log2_regions=10,
            depths=tuple(range(1, 11)),
            train_samples=8192,
            routes=("plain", "growth"),
        ),
    },
    page=SAWTOOTH,
    check=check,
    plan=plan,
    run=run,
    judge=judge,
)
