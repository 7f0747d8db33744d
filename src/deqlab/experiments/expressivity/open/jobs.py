"""The arms and jobs of an open problem, and the rows that a job leaves.

An arm is a network on a route; that from constructions has arms for each noise as well. A job
leaves a row of kind "stage" for each stage of its route, and a summary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.experiments.base import Job, Row
from deqlab.experiments.expressivity.open.competition import Competition
from deqlab.experiments.expressivity.open.losses import CONSTRUCTION, LEARNED
from deqlab.expressivity.constructions import ReadoutDEQ
from deqlab.expressivity.search.evaluation import evaluate
from deqlab.expressivity.search.initial import perturb
from deqlab.expressivity.search.modules import as_module
from deqlab.expressivity.search.network import Architecture
from deqlab.expressivity.search.stages import Route
from deqlab.stability.equilibria import relative_residual

Arms: TypeAlias = Iterator[tuple[str, dict[str, Any]]]
"""The name of each arm, and the settings of its jobs."""


def check(config: Competition) -> None:
    """Raise ValueError if an FNN of the depths costs more than the DEQ at width 1."""
    _ = config.fnns


def arms(config: Competition, route: str) -> Arms:
    """Yield the arms of a route; that from constructions has them for each noise."""
    if route != CONSTRUCTION:
        for architecture in (config.deq, *config.fnns):
            yield f"{route}-{_short(architecture)}", _settings(route, architecture)
        return
    for noise in config.noises:
        for network in config.exact():
            settings = _settings(route, network.architecture, f", noise {noise:g}")
            name = f"{route}-{noise:g}-{_short(network.architecture)}"
            yield name, {**settings, "noise": noise}


def plan(
    config: Competition,
    rows: Sequence[Row],
    arms: Callable[[Any, str], Arms] = arms,
) -> list[Job]:
    """Return one job per seed, route and arm."""
    found = [arm for route in config.routes for arm in arms(config, route)]
    return [
        Job(arm=name, seed=seed, settings=settings)
        for seed in config.seeds
        for name, settings in found
    ]


def run(config: Competition, job: Job) -> Iterator[Row]:
    """Yield a row of kind "stage" for each stage, and the summary."""
    steps, flops = 0, 0.0
    stages = route_of(config, job).stages(config.train, config.steps)
    for count, stage in enumerate(stages, start=1):
        steps, flops = steps + stage.steps, flops + stage.flops
        x, target = config.test(stage.number)
        yield {
            "kind": "stage",
            "route": job.settings["route"],
            "stage": count,
            config.number: stage.number,
            "train_loss": stage.train_loss,
            "test_loss": (evaluate(stage.network, x) - target).square().mean().item(),
            "steps": stage.steps,
            "flops": flops,
        }
    architecture = stage.network.architecture
    yield {
        **summary(config, job, as_module(stage.network)),
        "train_loss": stage.train_loss,
        "multiply_adds": architecture.multiply_adds,
        "step_flops": architecture.step_flops(config.train_samples),
        "parameters": architecture.num_parameters,
        "steps": steps,
        "flops": flops,
    }


def route_of(config: Competition, job: Job) -> Route:
    """Return the route of a job, with its start drawn or perturbed by its seed."""
    name, architecture = job.settings["route"], Architecture(**job.settings["architecture"])
    generator = torch.Generator().manual_seed(job.seed)
    if name != CONSTRUCTION:
        return config.route(name, architecture, generator)
    exact = next(each for each in config.exact() if each.architecture == architecture)
    return Route(perturb(exact, job.settings["noise"], generator)).then((config.hardest,))


def summary(config: Competition, job: Job, module: nn.Module) -> Row:
    """Return the row that ends a job, without what the network cost."""
    depth = job.settings["depth"]
    errors, solve = errors_of(module, *config.test(config.hardest))
    test_loss = errors.square().mean().item()
    return {
        "kind": "summary",
        "label": job.settings["label"],
        "matching": None if depth is None else "FLOPs",
        "route": job.settings["route"],
        "family": "deq" if depth is None else "fnn",
        "depth": depth,
        config.hardest_field: config.hardest,
        "learned": float(test_loss < LEARNED),
        "test_loss": test_loss,
        **config.measured(job, module, errors),
        **solve,
    }


@torch.no_grad()
def errors_of(
    module: nn.Module, x: Float[Tensor, " N"], y: Float[Tensor, " N"]
) -> tuple[Float[Tensor, " N"], Row]:
    """Return the errors of a module, and how the solve of a DEQ went: what it reached counts."""
    inputs = x[:, None]
    if not isinstance(module, ReadoutDEQ):
        return module(inputs)[:, 0] - y, {}
    solution = module.layer.solve(inputs)
    return module.output(inputs, solution)[:, 0] - y, {
        "residual": relative_residual(solution).max().item(),
        "converged": solution.converged.double().mean().item(),
        "evaluations": solution.evaluations,
    }


def _settings(route: str, architecture: Architecture, detail: str = "") -> dict[str, Any]:
    levels = architecture.levels
    depth = None if architecture.dense else len(levels)
    network = f"DEQ of width {len(levels)}" if depth is None else f"FNN {depth} x {levels[0]}"
    label = f"{network} ({route}{detail})"
    named = {"route": route, "network": network, "label": label, "depth": depth}
    return {**named, "architecture": asdict(architecture)}


def _short(architecture: Architecture) -> str:
    levels = architecture.levels
    return "deq" if architecture.dense else f"fnn-{len(levels)}x{levels[0]}"
