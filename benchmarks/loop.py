"""What the training loop costs beside the steps that it takes.

    python -m benchmarks.loop [--repeats 40]

Times twenty steps written by hand (forward, loss, backward, clip, optimiser) beside the same by
`fit`, and by `fit` with the convergence log and rate control, in turn, on copies of one network:
of vectors, whose steps are so short that the loop could show, and of feature maps. Knobs stay where
they are and the learning rate is next to nothing, so that all do the same work; the rows hold the
evaluations of f to show it. Writes to results/loop_<machine>_<date>.json.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import results
from benchmarks.timing import interleaved, median_ratio
from deqlab import DEQ, Anderson
from deqlab.gradients import Phantom
from deqlab.nn import ConvCell, DenseCell, SpectralNorm
from deqlab.training import ConvergenceLog, RateControl, fit

STEPS = 20
CLIP = 1.0

Batch = tuple[Tensor, Tensor]
Network = tuple[nn.Module, list[Batch]]


def vectors() -> Network:
    """Return a DEQ of 64 numbers, and batches of 64."""
    deq = DEQ(DenseCell(64, 64, constraint=SpectralNorm(0.8), gain=0.8), solver=Anderson(rtol=1e-2))
    return nn.Sequential(deq, nn.Linear(64, 10)), _batches(64)


def maps() -> Network:
    """Return the DEQ of the recipe conv-fashion, and batches of 64 images."""
    cell = ConvCell(32, (7, 7), arrangement="outer", gain=1.0, highest=1.0)
    deq = DEQ(cell, solver=Anderson(memory=3, rtol=1e-2, max_steps=20), gradient=Phantom(steps=4))
    stem = [nn.Conv2d(1, 32, 4, stride=4), nn.GroupNorm(4, 32)]
    return nn.Sequential(*stem, deq, nn.Flatten(), nn.Linear(1568, 10)), _batches(1, 28, 28)


def _batches(*shape: int) -> list[Batch]:
    return [(torch.randn(64, *shape), torch.randint(10, (64,))) for _ in range(STEPS)]


NETWORKS: dict[str, Callable[[], Network]] = {"vectors": vectors, "feature maps": maps}


def contenders(network: Network) -> tuple[dict[str, Callable[[], None]], dict[str, list[int]]]:
    """Return what takes the steps in each way, and where each notes its evaluations of f."""
    found: dict[str, Callable[[], None]] = {}
    counts: dict[str, list[int]] = {}
    for name, make in {"by hand": _by_hand, "fit": _fit, "fit, log and control": _watched}.items():
        model, evaluations = copy.deepcopy(network[0]), []
        (layer,) = (part for part in model.modules() if isinstance(part, DEQ))
        layer.observers.append(lambda solve, seen=evaluations: seen.append(solve.evaluations))
        found[name], counts[name] = make(model, network[1]), evaluations
    return found, counts


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-9, weight_decay=0.0)


def _by_hand(model: nn.Module, batches: list[Batch]) -> Callable[[], None]:
    optimizer, parameters = _optimizer(model), list(model.parameters())

    def take() -> None:
        for x, y in batches:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()

    return take


def _fit(
    model: nn.Module,
    batches: list[Batch],
    control: RateControl | None = None,
    log: ConvergenceLog | None = None,
) -> Callable[[], None]:
    optimizer = _optimizer(model)

    def loss(batch: Batch) -> Tensor:
        return cross_entropy(model(batch[0]), batch[1])

    def take() -> None:
        fit(
            model,
            loss,
            batches,
            optimizer=optimizer,
            clip=CLIP,
            control=control,
            log=log,
            progress=False,
        )

    return take


def _watched(model: nn.Module, batches: list[Batch]) -> Callable[[], None]:
    has_knob = any(getattr(part, "knob", None) is not None for part in model.modules())
    control = RateControl(model, target=0.99) if has_knob else None
    return _fit(model, batches, control, ConvergenceLog(model))


def rows(repeats: int) -> Iterator[dict[str, Any]]:
    """Yield the time of each way over that by hand, for each network."""
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        runs, counts = contenders(make())
        times = interleaved(runs, repeats)
        for way, taken in times.items():
            yield {
                "network": name,
                "way": way,
                "milliseconds": 1e3 * sorted(taken)[len(taken) // 2] / STEPS,
                "ratio": median_ratio(taken, times["by hand"]),
                "evaluations": sum(counts[way]) / len(counts[way]),
            }


def main() -> None:
    chosen = results.parser(__doc__, repeats=40, workloads=False).parse_args()
    torch.set_num_threads(chosen.threads)
    found = list(rows(chosen.repeats))
    columns = {
        "network": "",
        "way": "",
        "milliseconds": ".2f",
        "ratio": ".3f",
        "evaluations": ".2f",
    }
    results.show("A training step", columns, found)
    environment = results.header("python -m benchmarks.loop", chosen)
    results.save("loop", chosen, {"environment": environment, "rows": found})


if __name__ == "__main__":
    main()
