"""A recipe that classifies images: a DEQ beside explicit networks of equal cost.

Every arm trains with each learning rate from the same weights on the same batches, and the network
of least validation loss is kept: the search costs every arm the same. The FLOPs that the second
twin is made for are those that the steps of the DEQ took.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from deqlab.experiments.base import PROGRESS, Experiment, Job, Row, every_job
from deqlab.experiments.comparing.evidence import select
from deqlab.recipes.attempt import Attempt
from deqlab.recipes.config import ImageConfig
from deqlab.recipes.images import Images, images
from deqlab.recipes.verdict import PAGE, judge
from deqlab.recipes.weights import FILE, write_weights
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.asking import certify
from deqlab.training.equilibrium import feedback


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks of a recipe, made from torch's global generator.

    Attributes:
        deq: Makes the DEQ from the config and the images.
        of_parameters: Makes an explicit network with most nearly the parameters of the DEQ.
        of_flops: Makes an explicit network whose training step takes most nearly so many FLOPs.
        tune: Is called twice an epoch with the DEQ and a batch of images, before the step.
    """

    deq: Callable[[Any, Images], nn.Module]
    of_parameters: Callable[[Any, Images], nn.Module]
    of_flops: Callable[[Any, Images, float], nn.Module]
    tune: Callable[[nn.Module, Tensor], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe(Experiment[Any]):
    """An experiment that trains a DEQ and its twins.

    Attributes:
        networks: What it trains.
    """

    networks: Networks


def recipe(
    networks: Networks,
    *,
    name: str,
    title: str,
    source: str,
    presets: dict[str, Any],
    margin: float | None = None,
) -> Recipe:
    """Return a recipe for images.

    Args:
        networks: The DEQ and its twins.
        name: What `deqlab train` calls it.
        title: Its heading.
        source: Who trained such a network.
        presets: Its configs by name.
        margin: By how much the accuracy of the twins may be higher; None promises no order.
    """
    return Recipe(
        networks=networks,
        name=name,
        title=title,
        claim="The DEQ stays at its equilibrium while it trains"
        + (
            "."
            if margin is None
            else f", and classifies as well as explicit networks of equal cost, to {margin:.1%}."
        ),
        source=source,
        origin="asked",
        presets=presets,
        page=PAGE,
        check=_check,
        plan=plan,
        run=partial(run, name, networks),
        judge=partial(judge, margin=margin),
    )


def _check(config: ImageConfig) -> None:
    images(config)


def plan(config: ImageConfig, rows: Sequence[Row]) -> list[Job]:
    """Return the DEQ and its twin of equal parameters, and that of equal FLOPs once it can be."""
    arms: dict[str, dict[str, Any]] = {
        "deq": {"label": "DEQ", "matching": None},
        "twin-parameters": {"label": "Twin of equal parameters", "matching": "parameters"},
    }
    costs = [row["flops_per_step"] for row in select(rows, arm="deq")]
    if len(costs) == len(config.seeds):
        about = {"label": "Twin of equal FLOPs", "matching": "FLOPs"}
        arms["twin-flops"] = {**about, "flops": float(median(costs))}
    return every_job(arms, config.seeds)


def run(name: str, networks: Networks, config: ImageConfig, job: Job) -> Iterator[Row]:
    """Train one arm at one seed; the weights of a DEQ are left with the run."""
    data, attempts, start = images(config), [], torch.get_rng_state()
    for rate in config.learning_rates:
        torch.set_rng_state(start)
        attempt = Attempt(_made(networks, config, job, data), config, data, rate)
        attempt.tune = networks.tune if job.arm == "deq" else None
        before = certificates(attempt.model, "before training") if job.arm == "deq" else []
        for row in attempt.train(job):
            yield {"kind": PROGRESS, "learning_rate": rate, **row}
        attempts.append(attempt)
    best = attempts[0]
    if len(attempts) > 1:
        losses = [attempt.validation_loss() for attempt in attempts]
        for rate, loss in zip(config.learning_rates, losses, strict=True):
            yield {"kind": "search", "learning_rate": rate, "validation_loss": loss}
        best = attempts[losses.index(min(losses))]
    yield from ({"kind": "step", **row} for row in best.rows)
    if best.log is not None:
        yield from before  # of the same initial weights at every learning rate
        proved = certificates(best.model, "after training")
        yield from proved
        yield from ({"kind": "solves", **row} for row in best.log.rows)
        yield from ({"kind": "feedback", **row} for row in feedback(best.model, data.test))
    described = {name: job.settings[name] for name in ("label", "matching")}
    slips = {} if best.log is None else {"slips": len(best.log.slips)}
    summary = {"kind": "summary", **described, **best.summary(), **slips}
    if job.arm == "deq" and job.results is not None:
        write_weights(job.results / FILE, name, config, job.seed, best, [*proved, summary])
    yield summary


def certificates(model: nn.Module, when: str) -> list[Row]:
    """Return what is proved of each DEQ layer, as rows, without what no theorem speaks of."""
    return [
        {
            "kind": "certificate",
            "when": when,
            "layer": name,
            "proved": _in_words(found),
            **{
                field: value
                for field, value in asdict(found).items()
                if value is not None and value == value
            },
        }
        for name, found in certify(model).items()
    ]


def _in_words(found: Certificate) -> str:
    if found.unique:
        return "one fixed point"
    return "a fixed point exists" if found.exists else "nothing"


def _made(networks: Networks, config: ImageConfig, job: Job, data: Images) -> nn.Module:
    if job.arm == "deq":
        return networks.deq(config, data)
    if job.arm == "twin-parameters":
        return networks.of_parameters(config, data)
    return networks.of_flops(config, data, job.settings["flops"])
