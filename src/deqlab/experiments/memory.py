"""Peak memory of a training step against the number of forward iterations.

Expected: with implicit differentiation it does not depend on the number of iterations, because
the tape holds one evaluation of f; unrolled, it grows by one tape per iteration. Source: Bai,
Kolter & Koltun (2019), "Deep Equilibrium Models", abstract: constant memory
whatever the depth. That unrolled memory grows linearly is what a tape does.

The map is z = tanh(W z + q), with W 0.99 times a random rotation and small q, so that it
converges slowly, and the forward solver is Picard with a tolerance of zero: it takes exactly the
iterations that it is given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from deqlab.costs import peak_memory
from deqlab.experiments.base import Experiment, Job, Row, Verdict, cross
from deqlab.experiments.comparing.evidence import by_seed, outcome, select
from deqlab.experiments.config import Config, check_at_least, check_increasing
from deqlab.experiments.page import chart, charts_and_table
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.unrolled import Unrolled
from deqlab.solve import fixed_point
from deqlab.solvers.picard import Picard

GRADIENTS: dict[str, Gradient] = {"implicit": Implicit(), "unrolled": Unrolled()}
FLAT = 0.05
"""The relative growth from the fewest to the most iterations that still counts as constant."""
LINEAR = 0.05
"""The relative spread of the bytes per iteration that still counts as linear growth."""


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One job of every arm for each.
        width: The size of the state.
        batch_size: Samples.
        iterations: The numbers of forward iterations to measure, increasing.
    """

    width: int = 512
    batch_size: int = 64
    iterations: tuple[int, ...] = (10, 50, 250)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width", "batch_size")
        check_increasing(self, "iterations", count=2, least=1)


def run(config: MemoryConfig, job: Job) -> Iterator[Row]:
    """Measure the peak memory of one training step at each number of iterations."""
    rotation, _ = torch.linalg.qr(torch.randn(config.width, config.width))
    w = (0.99 * rotation).requires_grad_()
    q = 0.01 * torch.randn(config.batch_size, config.width)
    peaks = []
    for iterations in config.iterations:
        peak = peak_memory(partial(_step, w, q, iterations, GRADIENTS[job.arm]), [w, q])
        w.grad = None
        peaks.append(peak)
        yield {"kind": "point", "iterations": iterations, "peak_memory_bytes": peak}
    yield {
        "kind": "summary",
        "label": type(GRADIENTS[job.arm]).__name__,
        "matching": None if job.arm == "implicit" else "gradient",
        "peak_memory_bytes": peaks[-1],
        "growth": peaks[-1] / peaks[0] - 1,
    }


def _step(w: Tensor, q: Tensor, iterations: int, gradient: Gradient) -> None:
    # A tolerance of zero is never met, so that every iteration is taken.
    solver = Picard(rtol=0.0, atol=0.0, max_steps=iterations, patience=iterations + 1)
    solution = fixed_point(
        lambda z, q, w: torch.tanh(torch.addmm(q, z, w)),
        torch.zeros_like(q),
        q,
        w,
        solver=solver,
        gradient=gradient,
        on_failure="ignore",
    )
    solution.matrix.sum().backward()
    # One more where rounding made an iterate before the last one the best.
    if solution.evaluations not in (iterations, iterations + 1):
        raise RuntimeError(
            f"took {solution.evaluations} iterations where {iterations} are measured"
        )


def verdict(config: MemoryConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether implicit memory is flat and unrolled memory grows in proportion."""
    flat = max(by_seed(rows, "growth", arm="implicit").values())
    slopes = _slopes(config, rows)
    linear = min(slopes) > 0 and max(slopes) < (1 + LINEAR) * min(slopes)
    few, many = config.iterations[0], config.iterations[-1]
    sentence = (
        f"From {few} to {many} forward iterations, the peak memory of a training step grows by "
        f"{100 * flat:.1f} % with Implicit, and by {median(slopes) / 1024:.0f} KiB per iteration "
        "with Unrolled."
    )
    trace = 4 * config.batch_size * (many - few) / 1024
    known = f"A solution's residuals, one a sample and iteration, take {trace:.0f} KiB more."
    spread = f"Unrolled: {min(slopes) / 1024:.1f} to {max(slopes) / 1024:.1f} KiB per iteration."
    return Verdict(
        outcome=outcome([flat < FLAT and linear]), sentence=sentence, details=(known, spread)
    )


def _slopes(config: MemoryConfig, rows: Sequence[Row]) -> list[float]:
    """Return the bytes per iteration between neighbouring points of Unrolled, over all seeds."""
    slopes = []
    for seed in config.seeds:
        points = [
            (row["iterations"], row["peak_memory_bytes"])
            for row in select(rows, "point", arm="unrolled", seed=seed)
        ]
        slopes += [(b - a) / (n - m) for (m, a), (n, b) in pairwise(points)]
    return slopes


EXPERIMENT = Experiment(
    name="memory",
    title="Peak memory against forward iterations",
    claim="With implicit differentiation, the memory of a training step does not grow with the "
    "number of solver iterations; unrolled, it grows linearly.",
    source="Bai, Kolter & Koltun (2019), abstract; the comparison with Unrolled is deqlab's.",
    origin="published",
    presets={
        "smoke": MemoryConfig(seeds=(0,), width=32, batch_size=4, iterations=(5, 10)),
        "quick": MemoryConfig(),
        "full": MemoryConfig(width=1024, batch_size=256, iterations=(10, 100, 1000)),
    },
    page=charts_and_table(
        chart(
            "point",
            "iterations",
            "peak_memory_bytes",
            title="Peak memory of one training step",
            caption="Bytes alive at the same time, parameters included, and the residuals that a "
            "solution holds: one a sample and iteration.",
        ),
        title="Peak memory of one training step",
        caption="By gradient and number of forward iterations.",
        mark_best=False,
    ),
    plan=cross(GRADIENTS),
    run=run,
    judge=verdict,
)
