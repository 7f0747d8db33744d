"""What deqlab brings of a kind, and what installed packages register beside it.

A package registers by entry points, in its pyproject.toml:

    [project.entry-points."deqlab.experiments"]
    my-claim = "my_package.claims:EXPERIMENT"

Nothing of it is imported before it is asked for, and what cannot be imported is told in a sentence
and takes nothing else away.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from deqlab.own.target import OwnCodeError, hint, is_target, named

T = TypeVar("T")

_NAME = re.compile(r"\w[\w.-]*")


class OwnCodeWarning(UserWarning):
    """Something that a package registers is passed over."""


class Registry(Generic[T]):
    """What deqlab brings of a kind, what packages register, and what MODULE:NAME says.

    Args:
        kind: The type of what is registered; its `name` is the one that it is found by.
        ours: What deqlab brings, by name. Other packages cannot take its place.
        group: The group of entry points.
        what: What one is called in sentences.
        placed: Called with what was found elsewhere and MODULE:NAME; returns what `find` does.
    """

    def __init__(
        self,
        kind: type[T],
        ours: Mapping[str, T],
        *,
        group: str,
        what: str,
        placed: Callable[[T, str], T] = lambda found, place: found,
    ) -> None:
        self.kind, self.ours = kind, ours
        self.group, self.what = group, what
        self._placed = placed

    def names(self) -> list[str]:
        """Return all names, ours first; nothing is imported for it."""
        return list(dict.fromkeys([*self.ours, *self._registered()]))

    def knows(self, name: str) -> bool:
        """Return whether `find` would look for it: a name that there is, or MODULE:NAME."""
        return name in self.ours or is_target(name) or name in self._registered()

    def find(self, name: str) -> T:
        """Return what is called `name`, or stands under MODULE:NAME.

        Raises:
            OwnCodeError: There is none; or it cannot be imported, is of another kind, or is called
                as another one is.
        """
        if ":" in name:
            return self._at(name)
        registered = self._registered().get(name, [])
        if name in self.ours:
            if registered:
                warnings.warn(self._clash(registered[0]), OwnCodeWarning, stacklevel=2)
            return self.ours[name]
        if not registered:
            raise OwnCodeError(f"no {self.what} named {name!r}; {hint(name, self.names())}")
        return self._loaded(name, registered)

    def registered(self) -> Iterator[T | OwnCodeError]:
        """Yield what packages register, and for what cannot be had the error that says why."""
        for name, registered in self._registered().items():
            try:
                if name in self.ours:
                    raise OwnCodeError(self._clash(registered[0]))
                yield self._loaded(name, registered)
            except OwnCodeError as error:
                yield error

    def _registered(self) -> dict[str, list[EntryPoint]]:
        """Return the entry points by name, each once however often its package is found."""
        found: dict[str, dict[str, EntryPoint]] = {}
        for point in entry_points(group=self.group):
            found.setdefault(point.name, {}).setdefault(point.value, point)
        return {name: list(found[name].values()) for name in sorted(found)}

    def _loaded(self, name: str, registered: list[EntryPoint]) -> T:
        if len(registered) > 1:
            raise OwnCodeError(
                f"{' and '.join(map(_package, registered))} both register the {self.what} "
                f"{name!r}: say which by MODULE:NAME, {' or '.join(p.value for p in registered)}"
            )
        (point,) = registered
        try:
            found = self._at(point.value)
        except OwnCodeError as error:
            raise OwnCodeError(
                f"the {self.what} {name!r} of {_package(point)} cannot be had: {error}"
            ) from error
        called = _name_of(found)
        if called != name:
            raise OwnCodeError(
                f"{_package(point)} registers the {self.what} {name!r}, which calls itself "
                f"{called!r}: give both the same name"
            )
        return found

    def _at(self, target: str) -> T:
        found = named(target)
        if not isinstance(found, self.kind):
            raise OwnCodeError(
                f"{target} is of type {type(found).__name__}, and {self.what}s are instances of "
                f"{self.kind.__name__}"
            )
        name = _name_of(found)
        if found is self.ours.get(name):
            return found
        if name in self.ours:
            raise OwnCodeError(
                f"{target} calls itself {name!r}, which is the name of one of deqlab: rename it"
            )
        if _NAME.fullmatch(name) is None:  # a run lies in a folder of that name
            raise OwnCodeError(
                f"{target} calls itself {name!r}: a name has letters, digits, '.', '_' and '-'"
            )
        return self._placed(found, target)

    def _clash(self, point: EntryPoint) -> str:
        return (
            f"{_package(point)} registers the {self.what} {point.name!r}, which is one of "
            f"deqlab's: that is the one taken; {point.value} names the other"
        )


def _name_of(found: object) -> str:
    name: str = found.name  # type: ignore[attr-defined]
    return name


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(":")[0]
