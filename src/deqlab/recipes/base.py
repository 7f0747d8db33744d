"""A recipe: DEQs that train to the end by one command, beside explicit networks of equal cost.

Every arm trains with each learning rate from the same weights on the same batches, and the network
of least validation loss is kept: the search costs every arm the same. A twin of equal FLOPs is made
for those that the steps of its DEQ took.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from deqlab.experiments.base import Experiment, Job, Origin, Row, every_job, progress
from deqlab.experiments.comparing.arms import OWN
from deqlab.experiments.comparing.evidence import select
from deqlab.experiments.comparing.own_parts import own_module, try_model
from deqlab.experiments.config import require
from deqlab.experiments.page import Chart, Images, Table
from deqlab.recipes.attempt import Attempt
from deqlab.recipes.certificates import certificates
from deqlab.recipes.config import RecipeConfig
from deqlab.recipes.page import page_of
from deqlab.recipes.task import Metric, Task
from deqlab.recipes.verdict import judge, promised
from deqlab.recipes.weights import FILE, write_weights
from deqlab.training.equilibrium import MAX_STEPS


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One network of a recipe.

    Attributes:
        label: What the report calls it.
        make: Makes it from the config and the data, with torch's global generator; and from the
            FLOPs of a step, if it waits for an arm.
        matching: What it has as much of as the DEQ: "parameters" or "FLOPs"; None for neither.
        waits_for: The arm whose FLOPs a step it is made for; None for none.
        controlled: Whether `RateControl` holds it to the rate of the config, if that has one.
        check: Called with the config and the data before anything is written; raises ValueError
            if it cannot be made. None checks nothing.
    """

    label: str
    make: Callable[..., nn.Module]
    matching: str | None = None
    waits_for: str | None = None
    controlled: bool = True
    check: Callable[..., None] | None = None


def twins(
    of_parameters: Callable[..., nn.Module], of_flops: Callable[..., nn.Module]
) -> dict[str, Arm]:
    """Return the arms that every DEQ is beside.

    Args:
        of_parameters: Makes an explicit network with most nearly the parameters of the DEQ.
        of_flops: Makes an explicit network whose training step takes most nearly so many FLOPs.
    """
    return {
        "twin-parameters": Arm(
            label="Twin of equal parameters", make=of_parameters, matching="parameters"
        ),
        "twin-flops": Arm(
            label="Twin of equal FLOPs", make=of_flops, matching="FLOPs", waits_for="deq"
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Recipe(Experiment[Any]):
    """An experiment that trains DEQs and their twins.

    Attributes:
        arms: What it trains, by name. Those of DEQs begin with "deq"; "deq" is the one that the
            verdict is about.
        task: Makes what it trains on from the config.
        metric: What networks are compared by.
        restored: Returns data that a network can be made for, from `Task.about`.
    """

    arms: Mapping[str, Arm]
    task: Callable[[Any], Task[Any]]
    metric: Metric
    restored: Callable[[dict[str, Any]], Any]


def recipe(
    arms: Mapping[str, Arm],
    *,
    name: str,
    title: str,
    source: str,
    presets: dict[str, Any],
    task: Callable[[Any], Task[Any]],
    metric: Metric,
    restored: Callable[[dict[str, Any]], Any],
    fields: Sequence[str] = (),
    charts: tuple[Sequence[Chart | Images], Sequence[Table]] = ((), ()),
    tolerance: str = "rtol 1e-2",
    max_steps: str = f"at most {MAX_STEPS} steps",
    claim: str = "The DEQ stays at its equilibrium while it trains",
    what: str = "",
    margin: float | None = None,
    origin: Origin = "asked",
    tune: Callable[[nn.Module, Tensor], None] | None = None,
) -> Recipe:
    """Return a recipe.

    Args:
        arms: See `Recipe`.
        name: What `deqlab train` calls it.
        title: Its heading.
        source: Who trained such a network.
        presets: Its configs by name.
        task: See `Recipe`.
        metric: See `Recipe`.
        restored: Likewise.
        fields: What the tables show beside the metric.
        charts: Charts and tables that the page has beside those of every recipe.
        tolerance: To what the equilibrium is to be found in a test, in words.
        max_steps: In how many steps the equilibrium is to be found in a test, in words.
        claim: What is said of the equilibrium of the DEQ.
        what: What the DEQ is to do as well as its twins, such as "classifies".
        margin: By how much the twins may be better; None promises no order.
        origin: See `Experiment`.
        tune: Is called now and then with a DEQ and the inputs of a batch, before the step; see
            `Task.steps_between_tunings`.
    """
    if margin is not None:
        claim += f", and {promised(what, margin)}"
    return Recipe(
        arms=arms,
        task=task,
        metric=metric,
        restored=restored,
        name=name,
        title=title,
        claim=f"{claim}.",
        source=source,
        origin=origin,
        presets=presets,
        page=page_of(metric, fields, *charts, max_steps=max_steps, tolerance=tolerance),
        check=partial(_check, arms, task),
        plan=partial(plan, arms),
        later=partial(later, arms),
        run=partial(run, name, arms, task, tune),
        judge=partial(judge, metric=metric, margin=margin),
    )


def _check(arms: Mapping[str, Arm], task: Callable[[Any], Task[Any]], config: RecipeConfig) -> None:
    chosen, made = chosen_of(arms, config), task(config)
    for arm in chosen.values():
        if arm.check is not None:
            arm.check(config, made.data)
    if OWN in chosen:
        batch = next(iter(made.batches(torch.Generator().manual_seed(0))))
        with torch.random.fork_rng([]):
            model = chosen[OWN].make(config, made.data)
        try_model(chosen[OWN].label, lambda: made.loss(model, batch))


def with_own(arms: Mapping[str, Arm], config: RecipeConfig) -> Mapping[str, Arm]:
    """Return the arms of a recipe, and that of the user's network if the config names one."""
    if config.model is None:
        return arms
    make = partial(own_module, config.model, "NAME(config, data)")
    return {**arms, OWN: Arm(label=config.model, make=make, controlled=False)}


def chosen_of(arms: Mapping[str, Arm], config: RecipeConfig) -> dict[str, Arm]:
    """Return the arms that a config asks for, in its order.

    Raises:
        ValueError: One is not known, or waits for one that is not asked for.
    """
    names = config.arms or tuple(arms)
    if config.model is not None and OWN not in names:
        names = (*names, OWN)
    arms = with_own(arms, config)
    for name in names:
        require(name in arms, f"arms: there is no {name!r}, choose among {', '.join(arms)}")
        other = arms[name].waits_for
        require(
            other is None or other in names,
            f"arms: {name} is made for the FLOPs of {other}, which must be among them",
        )
    return {name: arms[name] for name in names}


def plan(arms: Mapping[str, Arm], config: RecipeConfig, rows: Sequence[Row]) -> list[Job]:
    """Return the jobs of all arms but those whose other is not done yet."""
    found: dict[str, dict[str, Any]] = {}
    for name, arm in chosen_of(arms, config).items():
        found[name] = {"label": arm.label, "matching": arm.matching}
        if arm.waits_for is not None:
            costs = [row["flops_per_step"] for row in select(rows, arm=arm.waits_for)]
            if len(costs) < len(config.seeds):
                del found[name]
            else:
                found[name]["flops"] = float(median(costs))
    return every_job(found, config.seeds)


def later(arms: Mapping[str, Arm], config: RecipeConfig, rows: Sequence[Row]) -> int:
    """Return how many jobs wait for those of others."""
    every = len(chosen_of(arms, config)) * len(config.seeds)
    return every - len(plan(arms, config, rows))


def run(
    name: str,
    arms: Mapping[str, Arm],
    task_of: Callable[[Any], Task[Any]],
    tune: Callable[[nn.Module, Tensor], None] | None,
    config: RecipeConfig,
    job: Job,
) -> Iterator[Row]:
    """Train one arm at one seed; the weights of a DEQ are left with the run."""
    arm = with_own(arms, config)[job.arm]
    task, attempts, start = task_of(config), [], torch.get_rng_state()
    costs = [job.settings["flops"]] if "flops" in job.settings else []
    rates = config.learning_rates
    for number, rate in enumerate(rates):
        torch.set_rng_state(start)
        model = arm.make(config, task.data, *costs)
        attempt = Attempt(model, task, rate, controlled=arm.controlled)
        attempt.tune = tune if attempt.changes else None
        before = certificates(attempt.model, "before training") if attempt.changes else []
        for row in attempt.train(job):
            steps = attempt.num_steps
            told = progress(row, num_steps=steps, attempt=number, attempts=len(rates))
            yield {**told, "learning_rate": rate}
        attempts.append(attempt)
    best = attempts[0]
    if len(attempts) > 1:
        losses = [attempt.validation_loss() for attempt in attempts]
        for rate, loss in zip(rates, losses, strict=True):
            yield {"kind": "search", "learning_rate": rate, "validation_loss": loss}
        best = attempts[losses.index(min(losses))]
    yield from ({"kind": "step", **row} for row in best.rows)
    described = {name: job.settings[name] for name in ("label", "matching")}
    summary = {"kind": "summary", **described, **best.summary()}
    if best.log is not None:
        yield from before  # of the same initial weights at every learning rate
        proved = certificates(best.model, "after training")
        yield from proved
        yield from ({"kind": "solves", **row} for row in best.log.rows)
        summary["slips"] = len(best.log.slips)
        if job.results is not None:
            rows = [*proved, summary]
            write_weights(job.results / FILE, name, job, best, rows)
    yield from task.examined(best.model)
    yield summary
