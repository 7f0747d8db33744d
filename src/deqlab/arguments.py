"""Checks of arguments: a refusal is one sentence with the name, the domain, and what was given."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

import torch

T = TypeVar("T")

SYNONYMS = (
    (("rtol",), ("tol", "reltol", "eps", "epsilon", "f_tol", "f_eps", "b_tol")),
    (("atol",), ("abstol", "abs_tol")),
    (
        ("max_steps", "max_products", "steps"),
        (
            *("max_iter", "maxiter", "max_iters", "max_iterations", "max_evaluations"),
            *("num_iters", "num_steps", "n_iter", "n_iters", "f_max_iter", "b_max_iter"),
            *("threshold", "f_thres"),
        ),
    ),
    (("memory", "restart"), ("m", "history", "history_size", "window", "krylov_dim")),
    (("damping",), ("beta", "tau", "relaxation")),
    (("ridge",), ("lam", "reg", "regularization")),
    (("record",), ("indexing", "n_states", "n_losses")),
    (("steps",), ("grad", "phantom_grad")),
    (("solver",), ("method", "f_solver", "b_solver")),
)
"""Settings here, and what other libraries of fixed points and implicit layers call them."""

MODES = ("stop_mode", "f_stop_mode", "b_stop_mode")
"""Elsewhere a word that says whether one tolerance is relative or absolute."""


class SettingsByName:
    """A frozen dataclass of settings; a name that is none of them meets the one to use."""

    def __new__(cls: type[T], *args: object, **settings: object) -> T:
        """Return the object that the dataclass fills in.

        Raises:
            TypeError: A setting has another name here, or is given without its name.
        """
        if not torch.compiler.is_compiling():  # where dataclass says it, less well
            _check_names(cls, args, settings)
        return object.__new__(cls)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take on settings from a pickle or a checkpoint, which anybody may have changed.

        Raises:
            TypeError: One of them is none of this class.
            ValueError: One is outside of its domain.
        """
        _check_names(type(self), (), state)
        for name, value in state.items():
            object.__setattr__(self, name, value)
        if (check := getattr(self, "__post_init__", None)) is not None:
            check()


def check_kind(name: str, value: object, *kinds: type, example: str) -> None:
    """Raise TypeError unless `value` is an instance of one of `kinds`.

    Args:
        name: The argument's name.
        value: What was given for it.
        kinds: The classes it may be of.
        example: An expression that is right, for the sentence.
    """
    if isinstance(value, kinds):
        return
    wanted = " or ".join(kind.__name__ for kind in kinds)
    raise TypeError(f"{name} must be a {wanted}, such as {example}, got {_told(value)}")


def check_function(name: str, value: object, *, example: str) -> None:
    """Raise TypeError unless `value` can be called, and is an instance, no class.

    Args:
        name: The argument's name.
        value: What was given for it.
        example: An expression that is right, for the sentence.
    """
    if callable(value) and not isinstance(value, type):
        return
    raise TypeError(f"{name} must be a function, such as {example}, got {_told(value)}")


def _told(value: object) -> str:
    """Return what was given where something else should be."""
    if isinstance(value, type):
        return f"the class {value.__name__}; an instance is made by {value.__name__}()"
    if isinstance(value, str):
        return f"the string {value!r}"
    return "None" if value is None else f"an instance of {type(value).__name__}"


def check_whole(name: str, *values: object) -> None:
    """Raise TypeError unless each of `values` is a whole number; True and 3.0 are none."""
    for value in values:
        try:
            operator.index(value)  # type: ignore[arg-type]  # that is the question
            whole = not isinstance(value, bool)
        except TypeError:
            whole = False
        if not whole:
            raise TypeError(f"{name} must be a whole number, got {value!r}")


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Raise unless `value` is a whole number of at least `least`, which is 0 or 1.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is too small.
    """
    check_whole(name, value)
    if operator.index(value) < least:  # type: ignore[arg-type]  # just checked
        domain = f"at least {least}" if least else "0 or more"
        raise ValueError(f"{name} must be {domain}, got {value}")


def check_sequence(name: str, values: object) -> None:
    """Raise TypeError unless `values` is a sequence of whole numbers."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of whole numbers, got {values!r}")
    check_whole(f"each of {name}", *values)


def check_number(name: str, value: object) -> None:
    """Raise TypeError unless `value` is a number; True and "0.5" are none."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise unless `value` is a finite number of more than 0.

    Raises:
        TypeError: It is no number.
        ValueError: It is 0 or less, infinite or nan.
    """
    check_number(name, value)
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be more than 0, and finite, got {value}")


def _check_names(kind: type, args: Sequence[object], settings: Mapping[str, object]) -> None:
    """Raise TypeError unless `kind` has these settings, where dataclass wrote its constructor."""
    if "__dataclass_fields__" not in vars(kind) or not vars(kind)["__dataclass_params__"].init:
        return
    taken = [field for field in fields(kind) if field.init]
    if args and all(field.kw_only for field in taken):
        example = f"{kind.__name__}({taken[0].name}=...)" if taken else f"{kind.__name__}()"
        raise TypeError(f"{kind.__name__} takes its settings by name, {example}, got {args[0]!r}")
    names = [field.name for field in taken]
    for name in settings:
        if name not in names:
            raise TypeError(f"{kind.__name__} has no setting {name}: {_suggestion(name, names)}")


def _suggestion(name: str, names: Sequence[str]) -> str:
    if name in MODES and "rtol" in names:
        return "rtol is the relative tolerance and atol the absolute one; a sample meets their sum"
    for here, elsewhere in SYNONYMS:
        found = [setting for setting in here if setting in names]
        if name in elsewhere and found:
            return f"it is called {found[0]} here"
    near = get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"it has {', '.join(names)}" if names else "it has none"
