"""What a caller of `diagnose` asks about: a map, a layer, or the layer of a model.

Of a model that contains a DEQ its layer is diagnosed, at the inputs that the layer is given when
the model runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from deqlab.diagnosis.subject import DiagnosisError, Subject
from deqlab.gradients.base import Gradient, check_gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.deq import DEQ
from deqlab.own.target import first_line
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver, check_solver
from deqlab.training.layers import layers_of


def subject_of(
    asked: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    z0: Any,  # noqa: ANN401, a state
    layer: str | None,
    solver: Solver[Any] | None,
    gradient: Gradient | None,
    rtol: float | None,
    batched: bool | None,
    name: str | None,
) -> Subject:
    """Return what a caller of `diagnose` asks about; its arguments are explained there.

    Raises:
        DiagnosisError: It is no map, or has several layers of which none is named, or none with
            this name.
        TypeError: `solver` or `gradient` is none.
        ValueError: `rtol` is below 0.
    """
    if isinstance(asked, type) or not callable(asked):
        got = f"the class {asked.__name__}" if isinstance(asked, type) else type(asked).__name__
        raise DiagnosisError(f"what is diagnosed is a function or a module f(z, x), got {got}")
    keywords: Mapping[str, Any] = {}
    called = name or str(getattr(asked, "__name__", type(asked).__name__))
    if isinstance(asked, nn.Module):
        asked, inputs, keywords, path = _layer(asked, inputs, layer)
        called = f"{called}: {asked.name} ({path})" if path else called
    elif layer is not None:
        raise DiagnosisError(
            f"layer={layer!r} names a layer of a model, and {called} is a function"
        )
    if isinstance(asked, DEQ):
        solver = asked.solver if solver is None else solver
        gradient = asked.gradient if gradient is None else gradient
        gradient = gradient.in_mode(training=asked.training)
        batched = asked.batched if batched is None else batched
    solver = Anderson() if solver is None else solver
    gradient = Implicit() if gradient is None else gradient
    check_solver(solver)
    check_gradient(gradient)
    if rtol is not None:
        solver = replace(solver, rtol=rtol)
    return Subject(
        name=called,
        asked=asked,
        inputs=tuple(inputs),
        keywords=keywords,
        z0=z0,
        solver=solver,
        gradient=gradient,
        batched=True if batched is None else batched,
    )


def _layer(
    model: nn.Module, inputs: Sequence[Any], wanted: str | None
) -> tuple[nn.Module, Sequence[Any], Mapping[str, Any], str]:
    """Return the layer of a model that is diagnosed, its inputs, and its path in the model."""
    layers = layers_of(model)
    if wanted is not None and wanted not in layers:
        has = f"it has {', '.join(map(repr, layers))}" if layers else "it has none"
        raise DiagnosisError(f"{type(model).__name__} has no DEQ layer named {wanted!r}: {has}")
    if not layers or ("" in layers and wanted in (None, "")):
        return model, inputs, {}, ""
    if wanted is None and len(layers) > 1:
        raise DiagnosisError(
            f"{type(model).__name__} has {len(layers)} DEQ layers, and one is diagnosed at a time: "
            f"name it by layer=, one of {', '.join(map(repr, layers))}"
        )
    path = next(iter(layers)) if wanted is None else wanted
    layers[path].path = path
    given, keywords = _inputs_of(layers[path], path, model, inputs)
    return layers[path], given, keywords, path


class _Reached(Exception):  # noqa: N818, no error: the model ran as far as it had to
    """The layer was called."""


def _inputs_of(
    layer: DEQ[Any], path: str, model: nn.Module, inputs: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a layer is called with first when its model runs."""
    taken: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def stop(*given: Any, z0: Any = None, **keywords: Any) -> Solution[Any]:  # noqa: ANN401
        taken.append((given, keywords))
        raise _Reached

    layer.solve = stop  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            model(*inputs)
    except _Reached:
        pass
    except Exception as error:
        raise DiagnosisError(
            f"{type(model).__name__} could not run on this batch: {first_line(error)}"
        ) from error
    finally:
        del layer.solve
    if not taken:
        raise DiagnosisError(f"{type(model).__name__} does not call its layer {path!r} here")
    return taken[0]
