"""Who competes on a route, and the rows that training leaves, whatever the target is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.experiments.base import Job, Row
from deqlab.experiments.expressivity.open.competition import Competition
from deqlab.experiments.expressivity.open.verdict import LEARNED
from deqlab.expressivity import ReadoutDEQ, equilibrium_pieces, layered_pieces
from deqlab.expressivity.search.evaluation import Substitution
from deqlab.expressivity.search.network import Wiring
from deqlab.expressivity.search.stages import Data, Route, Stage
from deqlab.stability.equilibria import relative_residual

CONSTRUCTION = "construction"
"""The route that begins near exact networks: the DEQ, and the narrowest FNN."""


def arms(config: Competition, route: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the settings of each arm of a route."""
    if route == CONSTRUCTION:
        for noise in config.noises:
            for wiring in (config.deq, config.narrowest):
                arm = {"route": route, "noise": noise, **_settings(wiring)}
                yield f"{route}-{noise:g}-{_short(wiring)}", arm
        return
    for wiring in (config.deq, *config.fnns):
        yield f"{route}-{_short(wiring)}", {"route": route, **_settings(wiring)}


def plan(config: Competition, arms: Sequence[tuple[str, dict[str, Any]]]) -> list[Job]:
    """Return one job per seed and arm."""
    return [
        Job(arm=name, seed=seed, settings=settings)
        for seed in config.seeds
        for name, settings in arms
    ]


def wiring_of(settings: Mapping[str, Any]) -> Wiring:
    """Return the wiring that is in the settings of an arm."""
    levels, dense = tuple(settings["levels"]), settings["dense"]
    return Wiring(levels, dense, settings["loops"], settings["skip"])


def label(config: Competition, settings: Mapping[str, Any]) -> str:
    """Return what people call an arm."""
    noise = settings.get("noise")
    disturbed = "" if noise is None else f", noise {noise:g}"
    return f"{network(config, settings)} ({settings['route']}{disturbed})"


def network(config: Competition, settings: Mapping[str, Any]) -> str:
    """Return what people call a network, on any route."""
    if settings.get("dense", True):
        return f"DEQ of width {config.width}"
    return f"FNN {len(settings['levels'])} x {settings['levels'][0]}"


def trained(
    route: Route, *, train: Data, test: Data, steps: int, name: str, number: str
) -> Iterator[tuple[Row, Stage]]:
    """Train, and yield a row for each stage, and the stage.

    Args:
        route: What to do.
        train: Points for each target.
        test: Points for each target, which are others.
        steps: Of all stages.
        name: Of the route.
        number: What the field is called that has the number of the target.
    """
    flops = 0.0
    for count, stage in enumerate(route.stages(train, steps), start=1):
        flops += stage.flops
        yield (
            {
                "kind": "stage",
                "route": name,
                "stage": count,
                number: stage.number,
                "train_loss": stage.train_loss,
                "test_loss": _loss(stage, test),
                "steps": stage.steps,
                "flops": flops,
            },
            stage,
        )


def costs(wiring: Wiring, num_points: int, rows: list[Row]) -> Row:
    """Return what a network cost, from the rows of its stages."""
    return {
        "train_loss": rows[-1]["train_loss"],
        "multiply_adds": wiring.multiply_adds,
        "step_flops": wiring.step_flops(num_points),
        "parameters": wiring.num_parameters,
        "steps": sum(row["steps"] for row in rows),
        "flops": rows[-1]["flops"],
    }


def summary(job: Job, label: str, number: tuple[str, int], row: Row) -> Row:
    """Return the row that ends a job.

    Args:
        job: The job.
        label: What people call the arm.
        number: Field and number of the target.
        row: What was measured: "test_loss" and more.
    """
    deq = job.settings.get("dense", True)
    return {
        "kind": "summary",
        "label": label,
        "matching": None if deq else "FLOPs",
        "route": job.settings["route"],
        "family": "deq" if deq else "fnn",
        "depth": None if deq else len(job.settings["levels"]),
        number[0]: number[1],
        "learned": float(row["test_loss"] < LEARNED),
        **row,
    }


def _settings(wiring: Wiring) -> dict[str, Any]:
    return {
        "levels": list(wiring.levels),
        "dense": wiring.dense,
        "loops": wiring.loops,
        "skip": wiring.skip,
    }


def _short(wiring: Wiring) -> str:
    return "deq" if wiring.dense else f"fnn-{len(wiring.levels)}x{wiring.levels[0]}"


def _loss(stage: Stage, test: Data) -> float:
    network, (x, target) = stage.network, test(stage.number)
    y = Substitution(network.wiring, x).output(network.weights)
    return (y - target).square().mean().item()


@torch.no_grad()
def tested(module: nn.Module, x: Float[Tensor, "N 1"], y: Float[Tensor, "N 1"]) -> Row:
    """Return the test loss, the linear regions on [0, 1], and how a DEQ's solve went."""
    output, solve = solved(module, x)
    return {"test_loss": (output - y).square().mean().item(), **_regions(module), **solve}


@torch.no_grad()
def solved(module: nn.Module, x: Float[Tensor, "N 1"]) -> tuple[Float[Tensor, "N 1"], Row]:
    """Return the outputs, and how a DEQ's solve went."""
    if not isinstance(module, ReadoutDEQ):
        return module(x), {}
    solution = module.layer.solve(x)
    return module.output(x, solution), {
        "residual": relative_residual(solution).max().item(),
        "converged": solution.converged.double().mean().item(),
        "evaluations": solution.evaluations,
    }


def _regions(module: nn.Module) -> Row:
    """Return the linear regions on [0, 1], or nothing where rounding hides where they meet.

    With weights in the thousands edges are known to no more than 1e-9, and two pieces may overlap.
    """
    if not isinstance(module, ReadoutDEQ):
        assert isinstance(module, nn.Sequential)
        return {"regions": layered_pieces(module, 0.0, 1.0).num_regions}
    try:
        return {"regions": equilibrium_pieces(module, 0.0, 1.0).num_regions}
    except ValueError:
        return {}
