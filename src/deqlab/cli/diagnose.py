"""`deqlab diagnose`: what is the matter with a map of the user's own.

The target is MODULE:NAME. A function that needs no arguments is called, and returns the map, or a
tuple of the map and its inputs; anything else is the map itself. Modules are looked for in the
folder where the command runs, too.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deqlab.cli.overrides import one_of
from deqlab.diagnosis.course import diagnose
from deqlab.diagnosis.findings import Diagnosis
from deqlab.experiments.config import UsageError
from deqlab.gradients.base import Gradient
from deqlab.own.target import first_line, named, told
from deqlab.solvers.base import Solver


def ask(
    target: str,
    *,
    shapes: Sequence[str],
    data: Sequence[Path],
    z0_shape: str | None,
    solver: str | None,
    gradient: str | None,
    rtol: float | None,
    seed: int,
    **options: Any,  # noqa: ANN401, those of `diagnose`
) -> Diagnosis:
    """Return the diagnosis of a target.

    Args:
        target: MODULE:NAME.
        shapes: Of inputs that are drawn from a normal distribution, such as 8,16.
        data: Files of inputs, .npy, .npz or .pt, which follow these.
        z0_shape: Of a start of zeros.
        solver: The name of a solver.
        gradient: The name of a gradient.
        rtol: Its tolerance.
        seed: Of everything that is drawn.
        options: The others of `diagnose`.

    Raises:
        OwnCodeError: There is no such target, or its module raises.
        UsageError: It is no map, or raises; or an option makes no sense.
        DiagnosisError: The map cannot run on these inputs.
    """
    random = torch.Generator().manual_seed(seed)
    given = [torch.randn(_shape("--shape", text), generator=random) for text in shapes]
    given += [tensor for path in data for tensor in _read(path)]
    f, inputs = _made(named(target), target)
    if given and inputs:
        raise UsageError(f"{target} returns its inputs itself: leave out --shape and --data")
    if rtol is not None and not 0 <= rtol < float("inf"):
        raise UsageError(f"--rtol must be 0 or more, and finite, got {rtol}")
    z0 = None if z0_shape is None else torch.zeros(_shape("--z0-shape", z0_shape))
    if not given and not inputs and z0 is None:
        raise UsageError(
            f"{target} needs inputs: --shape 8,16 draws some and --data reads them, or name a "
            "function without arguments that returns (f, x)"
        )
    return diagnose(
        f,
        *(given or inputs),
        z0=z0,
        solver=_setting("deqlab.solvers", solver, Solver, what="solver"),
        gradient=_setting("deqlab.gradients", gradient, Gradient, what="gradient"),
        rtol=rtol,
        seed=seed,
        name=target,
        **options,
    )


def _made(found: Any, target: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:  # noqa: ANN401
    """Return the map, and the inputs that came with it."""
    if isinstance(found, type):
        raise UsageError(
            f"{target} is a class: write a function without arguments that returns an instance"
        )
    if not callable(found):
        raise UsageError(f"{target} is no function and no module, but a {type(found).__name__}")
    if isinstance(found, nn.Module) or _needs_arguments(found):
        return found, ()
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{target}() raised {told(error)}") from error
    f, *inputs = made if isinstance(made, tuple) else (made,)
    if not callable(f):
        raise UsageError(
            f"{target}() must return f, or a tuple (f, x), got a {type(made).__name__} that begins "
            f"with a {type(f).__name__}"
        )
    return f, tuple(inputs)


def _needs_arguments(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a builtin, such as torch.tanh
        return True
    # f(*args) is a map: it is no function without arguments.
    return any(
        p.kind is p.VAR_POSITIONAL or (p.default is p.empty and p.kind is not p.VAR_KEYWORD)
        for p in parameters
    )


def _shape(option: str, text: str) -> list[int]:
    sizes = text.split(",")
    if not all(size.strip().isdigit() for size in sizes):
        raise UsageError(
            f"{option} takes sizes with commas between them, such as 8,16; got {text!r}"
        )
    return [int(size) for size in sizes]


def _read(path: Path) -> list[Tensor]:
    """Return the tensors of a file; nothing in it is executed."""
    try:
        if path.suffix == ".pt":
            held = torch.load(path, weights_only=True)
            parts = list(held) if isinstance(held, list | tuple) else [held]
        elif path.suffix == ".npy":
            parts = [np.load(path, allow_pickle=False)]
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                parts = [file[name] for name in file.files]
        else:
            raise UsageError(f"{path}: --data reads .npy, .npz and .pt")
    except UsageError:
        raise
    except Exception as error:  # a file that is damaged, or has other things in it
        raise UsageError(f"{path} could not be read: {first_line(error)}") from error
    wrong = [type(part).__name__ for part in parts if not isinstance(part, np.ndarray | Tensor)]
    if wrong:
        raise UsageError(f"{path} holds a {wrong[0]}, and --data takes tensors and arrays")
    return [_tensor(part) for part in parts]


def _tensor(part: np.ndarray | Tensor) -> Tensor:
    tensor = torch.as_tensor(part)
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _setting(package: str, name: str | None, kind: type, *, what: str) -> Any:  # noqa: ANN401
    """Return the solver or gradient of a name, with its defaults; None for no name."""
    if name is None:
        return None
    exported = importlib.import_module(package)
    public = {each: getattr(exported, each) for each in exported.__all__}
    known = {
        each: held
        for each, held in public.items()
        if isinstance(held, type) and issubclass(held, kind) and not inspect.isabstract(held)
    }
    return known[one_of(name, known, what=what)]()
