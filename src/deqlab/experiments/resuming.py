"""How a job goes on after an interruption: checkpoints and finished parts in its own folder.

A job that trains keeps a checkpoint; one that is made of parts keeps the rows of those that are
done. Neither changes a row: a job that was interrupted leaves the rows of one that was not, and
its seconds are those of both sittings. Without a folder nothing is kept.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from deqlab.experiments.base import Job, Row
from deqlab.training.checkpoints.checkpoint import SHORT, Checkpoint, Stateful
from deqlab.training.checkpoints.file import read_progress
from deqlab.training.checkpoints.random_numbers import RandomNumbers
from deqlab.training.checkpoints.tree import CheckpointError


def checkpoint(job: Job, name: str, parts: Mapping[str, Stateful]) -> Checkpoint:
    """Return the checkpoint of one training of a job.

    Args:
        job: The job; its folder may be None, and then nothing is kept.
        name: What tells the training from others of the job.
        parts: What it is made of; torch's and the other global generators are added.
    """
    path = None if job.folder is None else job.folder / f"{name}.safetensors"
    return Checkpoint(path, {**parts, "random": RandomNumbers()})


def kept(
    job: Job,
    name: str,
    make: Callable[[], Iterable[Row]],
    parts: Mapping[str, Stateful] | None = None,
) -> list[Row]:
    """Return the rows of a part of a job, from its folder if they were made before.

    Args:
        job: The job.
        name: What tells the part from others of the job.
        make: Makes the rows.
        parts: What else `make` changes, beside the global generators; a network has buffers.
    """
    with checkpoint(job, name, parts or {}) as file:
        found = file.load()
        if found is not None:
            rows: list[Row] = found["rows"]
            return rows
        rows = list(make())
        if file.unsaved >= SHORT:
            file.save({"rows": rows})
        return rows


def position(folder: Path) -> str | None:
    """Return where the job of a folder goes on, such as "step 7 of 9"; None if it starts anew."""
    files = [(path.stat().st_mtime, path) for path in folder.glob("*.safetensors")]
    if not files:
        return None
    _, newest = max(files)
    try:
        progress = read_progress(newest)
    except CheckpointError as error:  # the job will end in it
        return str(error)
    if "step" not in progress:
        return "the parts of it that are done"
    of = f" of {progress['num_steps']:,}" if "num_steps" in progress else ""
    return f"step {progress['step']:,}{of}"
