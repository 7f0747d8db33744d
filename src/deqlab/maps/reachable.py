"""What a callable can reach: the modules, random generators and tensors behind f.

Python does not say what a function uses. What it can name is known, though: itself, what it is
bound to, its closure, its defaults, the globals that its code names, and what these hold. That is
walked here, to a small depth; a few microseconds for a function that holds tensors only.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import NamedTuple, cast
from weakref import ReferenceType

import torch
from torch import Tensor, nn

DEPTH = 6
"""How many holders may stand between f and what it uses."""

MANY = 1024
"""A container with more entries than this holds data, and is not looked into."""

NOTHING = frozenset(
    [
        *(int, float, complex, bool, str, bytes, type(None), type(Ellipsis), slice, range, type),
        *(nn.Buffer, torch.Size, torch.dtype, torch.device, torch.layout),
        *(BuiltinFunctionType, type(Tensor.add)),
    ]
)
"""Types that hold nothing of interest."""

LIBRARIES = frozenset(
    [
        *("torch", "deqlab", "numpy", "builtins", "functools", "math", "operator"),
        *("abc", "dataclasses", "enum", "typing", "typing_extensions", "weakref"),
    ]
)
"""Packages whose own functions keep nothing that changes a map."""


class Reachable(NamedTuple):
    """What was found; an object that can be named in several ways is there once."""

    modules: list[nn.Module]
    generators: list[torch.Generator]
    tensors: list[Tensor]  # beside parameters and buffers of modules; maybe several times
    hides_writes: bool = False  # whether code of f may write where autograd does not see it
    takes_derivatives: bool = False  # whether code of f may call torch.autograd.grad


NOTHING_FOUND = Reachable([], [], [])
"""What can be reached where nothing is looked for."""


def reachable(*roots: object) -> Reachable:
    """Return all modules, generators of random numbers, and tensors, that the roots can name."""
    found = Reachable([], [], [])
    named: set[str] = set()
    seen: set[int] = set()
    stack = [(root, DEPTH) for root in roots]
    while stack:
        holder, depth = stack.pop()
        if id(holder) in seen:
            continue
        kind = type(holder)
        if kind is Tensor or kind is nn.Parameter:
            found.tensors.append(cast(Tensor, holder))
            continue
        if kind in NOTHING:
            continue
        seen.add(id(holder))
        if kind is FunctionType:
            named |= _of_interest(cast(FunctionType, holder))
        if isinstance(holder, torch.Generator):
            found.generators.append(holder)
        elif isinstance(holder, nn.Module):
            found.modules.append(holder)
            # A submodule is as near as the module itself.
            stack.extend((child, depth) for child in holder._modules.values())
        if depth:
            stack.extend((held, depth - 1) for held in _held(holder) if type(held) not in NOTHING)
    if not named:
        return found
    hides = not PAST_AUTOGRAD.isdisjoint(named)
    return found._replace(hides_writes=hides, takes_derivatives="grad" in named)


def _held(holder: object) -> Iterable[object]:
    """Return what an object holds directly."""
    if isinstance(holder, FunctionType):
        return _of_function(holder)
    if isinstance(holder, MethodType):
        return holder.__self__, holder.__func__
    if isinstance(holder, partial):
        return holder.func, *holder.args, *holder.keywords.values()
    if isinstance(holder, dict):
        return list(holder.values()) if len(holder) <= MANY else ()
    if isinstance(holder, list | tuple | set | frozenset):
        return list(holder) if len(holder) <= MANY else ()
    if isinstance(holder, nn.Module):
        return _of_module(holder)
    if isinstance(holder, ReferenceType):
        return (holder(),)
    if isinstance(holder, ModuleType | type | Tensor | torch.Generator):
        return ()
    return _of_instance(holder)


def _of_function(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that has no value yet
            continue
    if _is_of_library(function.__module__):
        return
    yield from function.__defaults__ or ()
    if function.__kwdefaults__:
        yield from function.__kwdefaults__.values()
    names, known = _names(function.__code__), function.__globals__
    for name in names:
        found = known.get(name)
        if type(found) is not ModuleType:
            yield found
        elif not _is_of_library(found.__name__):
            inside = vars(found)
            yield from (inside[other] for other in names if other in inside)


@lru_cache(maxsize=1024)
def _names(code: CodeType) -> tuple[str, ...]:
    """Return the names that a function's code looks up, those of functions within it included."""
    within = (_names(constant) for constant in code.co_consts if type(constant) is CodeType)
    return (*code.co_names, *(name for names in within for name in names))


PAST_AUTOGRAD = frozenset(("data", "numpy", "untyped_storage"))
"""Names of views of a tensor, writes to which autograd does not count."""


def _of_interest(function: FunctionType) -> set[str]:
    """Return which of the names that tell something a function's code has."""
    return set() if _is_of_library(function.__module__) else _telling(function.__code__)


@lru_cache(maxsize=1024)
def _telling(code: CodeType) -> set[str]:
    return {"grad", *PAST_AUTOGRAD}.intersection(_names(code))


def is_of_torch(kind: type) -> bool:
    """Return whether a class of modules is one of torch's own, which hold submodules only."""
    return kind.__module__.startswith("torch.nn.modules.") and kind is not nn.Module


def _of_module(module: nn.Module) -> Iterable[object]:
    kind = type(module)
    if is_of_torch(kind):
        return ()
    own = [held for name, held in vars(module).items() if name not in PLUMBING]
    return [*own, *_methods(kind)]  # type: ignore[arg-type]


PLUMBING = frozenset(vars(nn.Module()))
"""Attributes that every module has: its submodules are walked, its hooks are not."""


def _of_instance(instance: object) -> Iterator[object]:
    kind = type(instance)
    try:  # past any __getattr__ of its own
        yield from list(object.__getattribute__(instance, "__dict__").values())
    except AttributeError:
        for slot in getattr(kind, "__slots__", ()):
            yield getattr(instance, slot, None)
    yield from _methods(kind)  # type: ignore[arg-type]


@lru_cache(maxsize=1024)
def _methods(kind: type) -> tuple[FunctionType, ...]:
    """Return what the instances of a class may run: its methods, and those of its bases."""
    own = [vars(base) for base in kind.__mro__ if not _is_of_library(base.__module__)]
    return tuple(found for names in own for held in names.values() if (found := _function(held)))


def _function(held: object) -> FunctionType | None:
    """Return the function behind an entry of a class: a method, or what a property calls."""
    if isinstance(held, property):
        held = held.fget
    elif isinstance(held, cached_property):
        held = held.func
    elif isinstance(held, staticmethod | classmethod):
        held = held.__func__
    return held if isinstance(held, FunctionType) else None


@lru_cache(maxsize=1024)
def _is_of_library(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in LIBRARIES
