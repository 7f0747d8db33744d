"""Exact constructions, their counted linear regions and norms, beside the bounds on FNNs.

Expected: ReLU DEQs of width k, or 2k, are the sawtooth with 2^k regions exactly, while an FNN of L
hidden layers of width k has (k + 1)^L regions at most; a DEQ of width 2 is a ramp of slope 2^d with
infinity norms of 2, while those of an FNN must grow as 2^(d / (L + 1)). Source of the claims: Wu et
al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and Learning Dynamics",
Figure 3 and Figure 4; the constructions and the bound on norms are derived here. Networks that are
only drawn, not trained, show how far below the bounds initialisation stays.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from deqlab.costs import num_parameters
from deqlab.experiments.base import Experiment, Job, Row, every_job
from deqlab.experiments.config import Config, check_at_least, check_increasing
from deqlab.experiments.expressivity.constructions_report import ERROR, PAGE, RAMP, verdict
from deqlab.expressivity.bounds import largest_pieces, smallest_infinity_norm
from deqlab.expressivity.constructions import (
    ReadoutDEQ,
    narrow_sawtooth,
    sawtooth_fnn,
    steep_ramp,
    wide_sawtooth,
)
from deqlab.expressivity.measured import measured, pieces_of
from deqlab.nn.cells.constraints import Triangular
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.mlp import mlp
from deqlab.solvers.newton import Newton
from deqlab.tasks import sawtooth, steep

SAWTOOTHS: dict[str, tuple[str, Callable[[int], nn.Module]]] = {
    "deq-narrow": ("DEQ, width k, with a skip", narrow_sawtooth),
    "deq-wide": ("DEQ, width 2k", wide_sawtooth),
    "fnn-exact": ("FNN, depth k, width 2", sawtooth_fnn),
}
RAMP_LABEL = "DEQ, width 2"
RANDOM_DEQ = ("deq-random", "random DEQ, lower triangular")
GAIN = 2.0
"""The gain of the random DEQs: the standard deviation of W is 2 / sqrt(width)."""


@dataclass(frozen=True, kw_only=True)
class ConstructionsConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: Draws of the random networks; constructions draw nothing, and run for the first.
        log2_regions: The values of k of the sawtooths, increasing, from 1 to 16.
        log2_steepness: The values of d of the ramps, increasing, from 0 to 24.
        depths: The numbers of hidden layers of the FNNs that are drawn, and for which bounds are.
        widths: The widths of the random networks, increasing.
        num_points: The number of points where errors are measured.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    log2_regions: tuple[int, ...] = (1, 3, 5, 10, 15)
    log2_steepness: tuple[int, ...] = (2, 6, 8, 10, 12, 14, 16, 18, 20)
    depths: tuple[int, ...] = (1, 2, 3)
    widths: tuple[int, ...] = (5, 10, 20, 40)
    num_points: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "num_points")
        check_increasing(self, "log2_regions", least=1, most=16)
        check_increasing(self, "log2_steepness", least=0, most=24)
        check_increasing(self, "depths", least=1, most=100)
        check_increasing(self, "widths", least=1, most=1000)


def plan(config: ConstructionsConfig, rows: Sequence[Row]) -> list[Job]:
    """Return one job per construction and bound, and one per random network and seed."""
    fixed = {
        **{arm: {} for arm in (*SAWTOOTHS, RAMP)},
        **{f"bound-{depth}": {"depth": depth} for depth in config.depths},
    }
    drawn = {
        RANDOM_DEQ[0]: {},
        **{f"fnn-random-{depth}": {"depth": depth} for depth in config.depths},
    }
    jobs = every_job(fixed, config.seeds[:1])
    return jobs + [job for seed in config.seeds for job in every_job(drawn, [seed])]


def run(config: ConstructionsConfig, job: Job) -> Iterator[Row]:
    """Measure one construction, or one draw, or state one bound."""
    if job.arm in SAWTOOTHS:
        return _sawtooths(config, job)
    if job.arm == RAMP:
        return _ramps(config, job)
    if job.arm.startswith("bound"):
        return _bounds(config, job.settings["depth"])
    return _random(config, job)


def _sawtooths(config: ConstructionsConfig, job: Job) -> Iterator[Row]:
    label, build = SAWTOOTHS[job.arm]
    generator = torch.Generator().manual_seed(job.seed)
    points = []
    for k in config.log2_regions:
        network = build(k)
        x, y = sawtooth.sample(
            config.num_points, log2_regions=k, generator=generator, dtype=torch.float64
        )
        regions = pieces_of(network, 0.0, 1.0).num_regions
        points.append({"k": k, "regions": regions, "expected": 2**k, **measured(network, x, y)})
        yield {"kind": "sawtooth", **points[-1]}
    yield _summary(label, points, parameters=num_parameters(network))


def _ramps(config: ConstructionsConfig, job: Job) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(job.seed)
    points = []
    for d in config.log2_steepness:
        delta = 2.0**-d
        network = steep_ramp(delta)
        x, y = steep.sample(
            config.num_points,
            curve=steep.Ramp(delta),
            delta=delta,
            generator=generator,
            dtype=torch.float64,
        )
        regions = pieces_of(network, -1.0, 1.0).num_regions
        # Without a step where delta is 1: the ramp ends with the interval.
        expected = 2 if d == 0 else 3
        points.append({"d": d, "regions": regions, "expected": expected, **measured(network, x, y)})
        yield {"kind": "ramp", **points[-1]}
    yield _summary(RAMP_LABEL, points, parameters=num_parameters(network))


def _bounds(config: ConstructionsConfig, depth: int) -> Iterator[Row]:
    for k in config.log2_regions:
        yield {"kind": "sawtooth", "k": k, "regions": largest_pieces([k] * depth)}
    for width in config.widths:
        yield {"kind": "random", "width": width, "regions": largest_pieces([width] * depth)}
    for d in config.log2_steepness:
        norm = smallest_infinity_norm(run=2.0**-d, depth=depth, error=ERROR)
        yield {"kind": "ramp", "d": d, "infinity_norm": norm}
    label = f"bound for FNNs of depth {depth}"
    yield {"kind": "summary", "label": label, "matching": "bound", "exact": None}


def _random(config: ConstructionsConfig, job: Job) -> Iterator[Row]:
    torch.manual_seed(job.seed)
    depth = job.settings.get("depth")
    shares: list[float] = []
    for width in config.widths:
        network = _draw(width, depth)
        regions = pieces_of(network, -1.0, 1.0).num_regions
        row: Row = {"kind": "random", "width": width, "regions": regions}
        if depth is not None:
            shares.append(regions / largest_pieces([width] * depth))
            row["share_of_bound"] = shares[-1]
        yield row
    label = RANDOM_DEQ[1] if depth is None else f"random FNN, depth {depth}"
    yield {
        "kind": "summary",
        "label": label,
        "matching": "random",
        "exact": None,
        "share_of_bound": min(shares) if shares else None,
    }


def _draw(width: int, depth: int | None) -> nn.Module:
    """Return a network as it is before training: an FNN, or a DEQ where depth is None."""
    if depth is not None:
        return mlp([1, *[width] * depth, 1]).double()
    cell = DenseCell(1, width, constraint=Triangular(), gain=GAIN)
    layer = DEQ(cell, solver=Newton(rtol=1e-10), on_failure="ignore")
    return ReadoutDEQ(layer, nn.Linear(width, 1)).double()


def _summary(label: str, points: Sequence[Row], *, parameters: int) -> Row:
    solved = [point["converged"] for point in points if "converged" in point]
    return {
        "kind": "summary",
        "label": label,
        "matching": None,
        "error": max(point["error"] for point in points),
        "miscounts": sum(point["regions"] != point["expected"] for point in points),
        "converged": min(solved) if solved else None,
        "parameters": parameters,
        "exact": all(p["error"] == 0 and p["regions"] == p["expected"] for p in points)
        and all(share == 1 for share in solved),
    }


EXPERIMENT = Experiment(
    name="constructions",
    title="Exact constructions: linear regions and steepness",
    claim="Small ReLU DEQs with small weights are the sawtooth with 2^k linear regions, and a ramp "
    "of any slope, exactly; FNNs of bounded depth need exponential width or weights.",
    source="Wu et al. (2024), Figures 3 and 4; constructions and bound on norms are derived here.",
    origin="derived",
    presets={
        "smoke": ConstructionsConfig(
            seeds=(0,),
            log2_regions=(1, 3),
            log2_steepness=(2, 10),
            depths=(1, 2),
            widths=(4, 8),
            num_points=256,
        ),
        "quick": ConstructionsConfig(),
        "full": ConstructionsConfig(
            seeds=tuple(range(32)),
            log2_regions=tuple(range(1, 17)),
            log2_steepness=tuple(range(2, 25)),
            depths=(1, 2, 3, 4),
            widths=(5, 10, 20, 40, 80),
            num_points=2**16,
        ),
    },
    page=PAGE,
    plan=plan,
    run=run,
    judge=lambda config, rows: verdict(
        rows,
        log2_regions=config.log2_regions[-1],
        log2_steepness=config.log2_steepness[-1],
        depth=config.depths[-1],
        width=config.widths[-1],
    ),
)
