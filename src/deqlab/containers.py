"""Tensors in containers, nested at will: tuples, named tuples, lists and dicts.

A container is taken apart into its tensors, in the order of the start, and put together again as
what it was. Dicts may have their keys in any order; what comes back has that of the start.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from torch import Tensor

State: TypeAlias = Tensor | tuple[Any, ...] | list[Any] | dict[Any, Any]
"""A tensor, or a tuple, named tuple, list or dict of states."""


@dataclass(frozen=True)
class Structure:
    """What a state is made of.

    Attributes:
        kind: Tensor, tuple, list or dict, or the class of a named tuple.
        keys: The keys of a dict, or the names of a named tuple's fields.
        parts: The parts of a container, in order.
    """

    kind: type
    keys: tuple[Any, ...] | None = None
    parts: tuple["Structure", ...] = ()

    @classmethod
    def of(cls, state: Any) -> "Structure":  # noqa: ANN401, whatever a caller calls a state
        """Describe a state.

        Raises:
            TypeError: Something in it is neither a tensor nor a container.
        """
        if isinstance(state, Tensor):
            return cls(Tensor)
        if isinstance(state, dict):
            kind: type = OrderedDict if isinstance(state, OrderedDict) else dict
            return cls(kind, tuple(state), tuple(cls.of(part) for part in state.values()))
        if isinstance(state, tuple):
            names = getattr(state, "_fields", None)
            kind = tuple if names is None else type(state)
            return cls(kind, names, tuple(cls.of(part) for part in state))
        if isinstance(state, list):
            return cls(list, None, tuple(cls.of(part) for part in state))
        name = type(state).__name__
        if dataclasses.is_dataclass(state):
            raise TypeError(
                f"a state is no dataclass, got {name}: make it a NamedTuple, whose fields have "
                "names as well"
            )
        raise TypeError(
            f"a state is a tensor, or a tuple, list or dict of states, found {name} in it"
        )

    def tensors(self, state: Any, where: str = "z") -> Iterator[Tensor]:  # noqa: ANN401
        """Yield the tensors of a state that is made in this way.

        Raises:
            ValueError: It is made in another way.
        """
        if not self._fits(state):
            raise ValueError(
                f"f must keep the structure of {where}: {self} became {_describe(state)}"
            )
        if isinstance(state, Tensor):
            yield state
        elif self.keys is None or isinstance(state, tuple):
            for i, (part, each) in enumerate(zip(self.parts, state, strict=True)):
                name = f"[{i}]" if self.keys is None else f".{self.keys[i]}"
                yield from part.tensors(each, where + name)
        else:
            for key, part in zip(self.keys, self.parts, strict=True):
                yield from part.tensors(state[key], f"{where}[{key!r}]")

    def build(self, tensors: Iterator[Tensor]) -> State:
        """Return the state that is made of these tensors."""
        if self.kind is Tensor:
            return next(tensors)
        parts = [part.build(tensors) for part in self.parts]
        if self.keys is None:
            return parts if self.kind is list else tuple(parts)
        if issubclass(self.kind, dict):
            return self.kind(zip(self.keys, parts, strict=True))
        return cast("State", self.kind(*parts))

    def _fits(self, state: object) -> bool:
        """Return whether the outermost container of a state is this one."""
        if self.kind is Tensor:
            return isinstance(state, Tensor)
        if isinstance(state, dict):
            return issubclass(self.kind, dict) and state.keys() == set(self.keys or ())
        if isinstance(state, tuple):
            names = getattr(state, "_fields", None)
            return issubclass(self.kind, tuple) and self._same_parts(state, names)
        return isinstance(state, list) and self.kind is list and self._same_parts(state, None)

    def _same_parts(self, state: tuple[Any, ...] | list[Any], names: object) -> bool:
        return names == self.keys and len(state) == len(self.parts)

    def __str__(self) -> str:
        if self.kind is Tensor:
            return "a tensor"
        if issubclass(self.kind, dict):
            return f"a dict with keys {list(self.keys or ())}"
        if self.keys is not None:
            return f"a {self.kind.__name__} with fields {list(self.keys)}"
        return f"a {self.kind.__name__} of {len(self.parts)}"


def _describe(state: Any) -> str:  # noqa: ANN401, whatever f has returned
    try:
        return str(Structure.of(state))
    except TypeError as error:
        return f"something else ({error})"
