"""What a command names: experiments and recipes of deqlab, of packages, and of modules."""

import sys
from collections.abc import Sequence
from typing import TypeVar

from deqlab.cli.overrides import one_of
from deqlab.cli.running import sentences
from deqlab.experiments.base import ExperimentT
from deqlab.own.registry import Registry
from deqlab.own.target import OwnCodeError

T = TypeVar("T")


def every(registry: Registry[T]) -> list[T]:
    """Return all that deqlab brings and packages register; say what cannot be had."""
    found = list(registry.ours.values())
    for each in registry.registered():
        if isinstance(each, OwnCodeError):
            print(f"deqlab: {each}", file=sys.stderr)
        else:
            found.append(each)
    return found


def chosen_of(names: Sequence[str], registry: Registry[ExperimentT]) -> list[ExperimentT]:
    """Return the experiments of these names, each once.

    Raises:
        UsageError: There is none of such a name.
        OwnCodeError: It is not to be had, or two of different modules are called the same.
    """
    found: dict[str, ExperimentT] = {}
    with sentences():
        for name in names:
            if ":" not in name:
                one_of(name, registry.names(), what=registry.what)
            one = registry.find(name)
            other = found.setdefault(one.name, one)
            if other.module != one.module:
                raise OwnCodeError(
                    f"{other.module or 'that of deqlab'} and {one.module or 'that of deqlab'} are "
                    f"both called {one.name!r}, and their runs would lie in one folder: rename one"
                )
    return list(found.values())
