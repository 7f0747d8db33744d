"""Training runs that are killed by kill -9 at random moments, and go on from their checkpoint.

    python -m benchmarks.kills [--repeats 200] [--threads 1] [--out FOLDER]

Each round starts a training, kills its process after a random time, looks at what lies on disk, and
lets another process go on from there. Its weights at the end are compared, bit by bit, with those
of a run that nobody killed. A checkpoint is written every few steps, far more often than anybody
would, so that many kills fall into a write. Beside it stands what checkpoints cost at the default
interval, by the size of the network.
"""

import multiprocessing
import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks import results
from deqlab.nn import DEQ, DenseCell, SpectralNorm
from deqlab.solvers import Anderson
from deqlab.training import Checkpoint, Loop, RandomNumbers, Shuffled
from deqlab.training.checkpoints.checkpoint import INTERVAL, MOST_OF_TIME
from deqlab.training.checkpoints.file import read, read_progress
from deqlab.training.checkpoints.tree import Tree

STEPS_PER_EPOCH, EPOCHS, EVERY = 8, 6, 2
SAVES_TIMED = 5

Row = dict[str, Any]


def train(path: Path | None, result: Path) -> None:
    """Train a small DEQ, from the checkpoint if there is one, and write its weights to `result`.

    Everything that a run can forget is in it: momentum, a schedule, buffers of a norm, dropout
    from the global generator, and an order of samples from another one.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(16 * STEPS_PER_EPOCH, 6)
    y = torch.sin(x).sum(dim=1, keepdim=True)
    layer = DEQ(DenseCell(6, 8, constraint=SpectralNorm(0.9)), solver=Anderson(rtol=1e-4))
    model = nn.Sequential(nn.Dropout(0.1), layer, nn.Linear(8, 1))
    order = torch.Generator().manual_seed(1)
    batches = Shuffled(len(x), 16, epochs=EPOCHS, generator=order, take=lambda i: (x[i], y[i]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=len(batches))

    def loss(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        return mse_loss(model(batch[0]), batch[1]), None

    loop = Loop(loss=loss, optimizer=optimizer, schedule=schedule)
    parts = {"model": model, **loop.parts, "batches": batches, "random": RandomNumbers()}
    with Checkpoint(path, parts) as checkpoint:
        progress = checkpoint.load() or {"step": 0, "losses": []}
        for step in loop.run(batches, taken=progress["step"]):
            progress["step"] = step.index
            progress["losses"].append(step.loss.item())
            if step.index % EVERY == 0:
                checkpoint.save(progress)
    with Checkpoint(result, {"model": model, "optimizer": optimizer}) as end:
        end.save(progress)


def rounds(count: int, folder: Path, seed: int) -> list[Row]:
    """Return what became of so many runs, each killed once and then resumed."""
    draw, rows = random.Random(seed), []
    _process(None, folder / "truth").join()
    truth = read(folder / "truth")
    start = time.monotonic()
    _process(folder / "timed", folder / "end").join()
    longest = time.monotonic() - start
    for number in range(count):
        path, end = folder / f"{number}", folder / f"end-{number}"
        process = _process(path, end)
        after = draw.uniform(0, longest)
        process.join(after)
        process.kill()  # SIGKILL, which no process can see coming
        process.join()
        row = {"round": number, "killed_after": after, "ended_before": process.exitcode == 0}
        row["killed_while_writing"] = path.with_name(f"{path.name}.new").exists()
        row["step"] = read_progress(path)["step"] if path.exists() else 0
        _process(path, end).join()
        row["same"] = same(read(end), truth)
        rows.append(row)
    return rows


def same(a: Tree, b: Tree) -> bool:
    """Return whether two trees are equal to the last bit of every tensor: weights and losses."""
    if isinstance(a, Tensor):
        return same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _process(path: Path | None, result: Path) -> multiprocessing.process.BaseProcess:
    # A server that has torch already starts each process in milliseconds.
    context = multiprocessing.get_context("forkserver")
    # (torch._dynamo is what an optimiser imports when it is made.)
    context.set_forkserver_preload(["benchmarks.results", "deqlab.training", "torch._dynamo"])
    process = context.Process(target=train, args=(path, result))
    process.start()
    return process


def costs(folder: Path, widths: tuple[int, ...] = (32, 256, 1024, 2048)) -> list[Row]:
    """Return the seconds of a save, and their share of a run at the default interval."""
    rows = []
    for width in widths:
        model = nn.Sequential(*[nn.Linear(width, width) for _ in range(5)])
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.randn(2, width)).sum().backward()
        optimizer.step()
        parts = {"model": model, "optimizer": optimizer, "random": RandomNumbers()}
        taken = []
        with Checkpoint(folder / "cost", parts) as checkpoint:
            for _ in range(SAVES_TIMED):
                start = time.perf_counter()
                checkpoint.save({"step": 0})
                taken.append(time.perf_counter() - start)
            start = time.perf_counter()
            for _ in range(1000):
                _ = checkpoint.due
            asked = (time.perf_counter() - start) / 1000
            checkpoint.load()
        seconds = median(taken)
        interval = max(INTERVAL, seconds / MOST_OF_TIME)
        rows.append(
            {
                "weights": sum(p.numel() for p in model.parameters()),
                "megabytes": (folder / "cost").stat().st_size / 1e6,
                "seconds_of_a_save": seconds,
                "interval": interval,
                "share_of_time": seconds / (interval + seconds),
                "seconds_of_due": asked,
            }
        )
    return rows


def main() -> None:
    """Measure, print and write."""
    options = results.parser(__doc__, repeats=200, workloads=False).parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        rows = rounds(options.repeats, Path(name), seed=0)
        cost = costs(Path(name))
    summary = {
        "rounds": len(rows),
        "same": sum(row["same"] for row in rows),
        "killed_while_writing": sum(row["killed_while_writing"] for row in rows),
        "ended_before": sum(row["ended_before"] for row in rows),
        "from_the_start": sum(row["step"] == 0 for row in rows),
    }
    results.show("kill -9 at random moments", dict.fromkeys(summary, "d"), [summary])
    columns = {"weights": ",d", "megabytes": ".2f", "seconds_of_a_save": ".4f", "interval": ".0f"}
    more = {"share_of_time": ".3%", "seconds_of_due": ".1e"}
    results.show("Cost at the default interval", {**columns, **more}, cost)
    environment = results.header("python -m benchmarks.kills", options)
    content = {"environment": environment, "steps": EPOCHS * STEPS_PER_EPOCH, "every": EVERY}
    results.save("kills", options, {**content, "summary": summary, "costs": cost, "rows": rows})


if __name__ == "__main__":
    main()
