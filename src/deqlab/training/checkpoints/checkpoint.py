"""A training run on disk: all that it needs to go on as if nothing had happened."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeAlias, runtime_checkable

from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.optim import Optimizer

from deqlab.training.checkpoints.file import read, write
from deqlab.training.checkpoints.tree import CheckpointError

Progress: TypeAlias = dict[str, Any]
"""Where a run is: plain values and tensors by name; "step" and "num_steps" are shown to people."""

INTERVAL = 30.0
"""Seconds of training between two checkpoints, unless it is said otherwise."""

SHORT = 1.0
"""Seconds of work that are not worth a file, where a training ends."""

MOST_OF_TIME = 0.02
"""The most of its time that a run may spend on checkpoints that were due."""

PATIENCE = 5.0
"""Seconds to wait for another process to leave a checkpoint: a worker whose run was killed notices
that within a second."""


@runtime_checkable
class Stateful(Protocol):
    """What a run is made of: modules, optimisers, schedules, batches, `RandomNumbers`."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors."""

    def load_state_dict(self, state: Any, /) -> Any:  # noqa: ANN401
        """Take on a state."""


class Checkpoint:
    """The state of a training run in one file, which is replaced whole.

    A process that is killed at any moment, kill -9 included, leaves the last checkpoint or the one
    that it was writing, whole. The file is in the safetensors format; to read it runs nothing.
    While a checkpoint is open it is locked: another process that wants it is refused.

    Args:
        path: The file; its folder is made. None keeps nothing: `due` is then never true.
        parts: What the run is made of, by name: the model, its average, the optimiser, the
            schedule, the batches, a scaler, `RandomNumbers`.
        every: Seconds between two checkpoints, 0 or more. They are further apart where writing is
            slow: `due` never takes more than 2 % of the time.

    Example:
        >>> import tempfile, torch
        >>> model = torch.nn.Linear(2, 1)
        >>> path = Path(tempfile.mkdtemp()) / "run.safetensors"
        >>> with Checkpoint(path, {"model": model}) as checkpoint:
        ...     checkpoint.save({"step": 7})
        >>> with Checkpoint(path, {"model": torch.nn.Linear(2, 1)}) as checkpoint:
        ...     checkpoint.load()
        {'step': 7}
    """

    def __init__(
        self, path: Path | str | None, parts: Mapping[str, Stateful], *, every: float = INTERVAL
    ) -> None:
        if not every >= 0:
            raise ValueError(
                f"every is the seconds between two checkpoints, 0 or more, got {every}"
            )
        self.path = None if path is None else Path(path)
        self.parts, self.every = dict(parts), every
        self._lock: FileLock | None = None
        self._saved, self._cost = time.monotonic(), 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self.path is not None and self.unsaved >= max(self.every, self._cost / MOST_OF_TIME)

    @property
    def unsaved(self) -> float:
        """Seconds since the last checkpoint was written or read, or this object made."""
        return time.monotonic() - self._saved

    def save(self, progress: Progress) -> None:
        """Write the state of all parts, and where the run is.

        Args:
            progress: Where the run is, and what else it has to remember.

        Raises:
            CheckpointError: The disk is full, or fails, or another process has the file; or a
                state holds what is neither plain nor a tensor.
        """
        if self.path is None:
            return
        self._hold(self.path)
        start = time.monotonic()
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        kinds = {name: _kind(part) for name, part in self.parts.items()}
        write(self.path, {"progress": progress, "kinds": kinds, **parts})
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def load(self) -> Progress | None:
        """Set all parts to the state of the checkpoint, and return where the run was.

        Returns:
            None, and nothing is changed, where there is no file.

        Raises:
            CheckpointError: The file is none, cut off, damaged or of another version; or it is of
                another run, with other parts or a model of other names or shapes: nothing is
                changed. Or another process has it.
        """
        if self.path is None:
            return None
        self._hold(self.path)
        if not self.path.exists():
            return None
        found = read(self.path)
        progress, kinds = found.pop("progress", None), found.pop("kinds", None)
        self._check(self.path, found, kinds)
        for name, part in self.parts.items():
            try:
                part.load_state_dict(found[name])
            except (ValueError, RuntimeError, KeyError, TypeError) as error:
                raise CheckpointError(f"{self.path}: {name} cannot be set: {error}") from error
        self._saved = time.monotonic()
        assert isinstance(progress, dict)
        return progress

    def remove(self) -> None:
        """Delete the file: the run is done."""
        if self.path is not None:
            self._hold(self.path)
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let other processes have the file."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _hold(self, path: Path) -> None:
        """Lock the file against other processes, until `close`."""
        if self._lock is not None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_name(f".{path.name}.lock"))
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise CheckpointError(
                f"{path} is in use by another process; wait for it to end, or name another file"
            ) from None
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written to ({error.strerror})") from error
        self._lock = lock

    def _check(self, path: Path, found: Mapping[str, Any], kinds: Any) -> None:  # noqa: ANN401
        """Raise CheckpointError unless the states are of such parts as this run has."""
        if found.keys() != self.parts.keys():
            raise CheckpointError(
                f"{path} holds {', '.join(sorted(found))}, and this run is made of "
                f"{', '.join(sorted(self.parts))}; name the checkpoint of this run"
            )
        for name, part in self.parts.items():
            if kinds[name] != _kind(part):
                raise CheckpointError(
                    f"{path} is of another run: its {name} is a {kinds[name]}, and here it is a "
                    f"{_kind(part)}; name the checkpoint of this run"
                )
            if isinstance(part, nn.Module):
                _check_module(path, name, found[name], part.state_dict())
            elif isinstance(part, Optimizer):
                _check_optimizer(path, name, found[name], part)


Keep: TypeAlias = Callable[[Mapping[str, Stateful]], Checkpoint]
"""Returns the checkpoint of a training that is made of these parts."""


def keep_nothing(parts: Mapping[str, Stateful]) -> Checkpoint:
    """Return no checkpoint: what is interrupted starts anew."""
    return Checkpoint(None, parts)


def _kind(part: Stateful) -> str:
    # Modules are compared by the names and shapes of what they hold: classes may be renamed.
    return "module" if isinstance(part, nn.Module) else type(part).__qualname__


def _check_module(path: Path, name: str, found: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    other = f"{path} is of another {name}:"
    for key in (*here, *found):
        if key not in found:
            raise CheckpointError(f"{other} it has no {key!r}, which this one has")
        if key not in here:
            raise CheckpointError(f"{other} it has {key!r}, which this one has not")
    for key, value in here.items():
        if _form(found[key]) != _form(value):
            raise CheckpointError(
                f"{other} {key!r} is {_form(found[key])} there and {_form(value)} here"
            )


def _check_optimizer(path: Path, name: str, found: Mapping[str, Any], here: Optimizer) -> None:
    theirs = [len(group["params"]) for group in found["param_groups"]]
    ours = [len(group["params"]) for group in here.param_groups]
    if theirs != ours:
        raise CheckpointError(
            f"{path} is of another {name}: its groups have {theirs} parameters, and here {ours}"
        )


def _form(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, Tensor):
        return f"of type {type(value).__name__}"
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
