"""The open problem: a width-10 ReLU DEQ on a sawtooth, trained, and better than every FNN.

Asked here: is there a way to train a DEQ of width 10, solved to its own equilibrium, on the
sawtooth with 2^k linear regions, so that its median test loss is below that of every FNN of equal
training FLOPs? Five routes are tried, each network with the same optimiser and steps as the others
of its route. Expected: from random weights none learns more than the mean; growth by feedback of
the output learns it to rounding, with a recipe that encodes s_k = T(s_(k-1)); FNNs as deep as k
then tie with it, as they must: a strictly triangular DEQ is an FNN with skips.

Nothing is chosen by the test loss in a run; the recipes themselves were sought with test losses in
view, on seeds that are not run. Everything is in float64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from deqlab.costs import num_parameters
from deqlab.experiments.base import Experiment, Job, Row, Verdict
from deqlab.experiments.expressivity.open import jobs, open_report
from deqlab.experiments.expressivity.open.competition import FRESH
from deqlab.experiments.expressivity.open.jobs import Arms, check, errors_of, plan
from deqlab.experiments.expressivity.open.losses import floor
from deqlab.experiments.expressivity.open.sawtooth_routes import OpenSawtoothConfig
from deqlab.experiments.resuming import checkpoint
from deqlab.expressivity.search.monotone import trained


def arms(config: OpenSawtoothConfig, route: str) -> Arms:
    """Yield the arms of a route; the monotone one has DEQs only, one for each penalty."""
    if route != "monotone":
        yield from jobs.arms(config, route)
        return
    for penalty in config.penalties:
        penalised = f", penalty {penalty:g}" if penalty else ""
        label = f"DEQ of width {config.width} (monotone{penalised})"
        named = {"route": route, "label": label, "depth": None, "penalty": penalty}
        yield f"monotone-{penalty:g}", named


def run(config: OpenSawtoothConfig, job: Job) -> Iterator[Row]:
    """Yield a row of kind "stage" for each stage, where there are stages, and the summary."""
    if job.settings["route"] != "monotone":
        yield from jobs.run(config, job)
        return
    x, y = config.train(config.hardest)
    penalty = job.settings["penalty"]
    network, flops = trained(
        x[:, None],
        y[:, None],
        width=config.width,
        steps=config.adam_steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        penalty=penalty,
        seed=job.seed,
        keep=partial(checkpoint, job, "training"),
    )
    errors, _ = errors_of(network, x, y)
    yield {
        **jobs.summary(config, job, network),
        "train_loss": errors.square().mean().item(),
        "parameters": num_parameters(network),
        "steps": config.adam_steps,
        "step_flops": flops / config.adam_steps,
        "flops": flops,
    }


def judge(config: OpenSawtoothConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ beats every FNN; see `open_report`."""
    k = config.log2_regions
    return open_report.judge(
        rows,
        subject=f"On 2^{k} linear regions",
        least=floor(k),
        recipes={"growth": "s_k is T(s_(k-1))"},
        deep=k,
    )


PAGE = open_report.page(
    losses="The constant function has a loss of 0.083; losses near 1e-26 are rounding.",
    stages="On the target of the stage itself, s_1, s_2 .. s_k: the tasks get harder to the right.",
    measured=("regions",),
    cost="; Adam's are counted as they run",
)

_FULL = OpenSawtoothConfig()

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
    page=PAGE,
    check=check,
    plan=partial(plan, arms=arms),
    run=run,
    judge=judge,
)
