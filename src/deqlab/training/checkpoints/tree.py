"""Trees of plain values and tensors, as a JSON value beside tensors by name, and back.

What `state_dict` of modules, optimisers and schedules returns is such a tree. JSON has None, bools,
finite numbers, texts and lists; all else is an object whose one name says what it is:

    {"dict": {..}}      a dict whose keys are texts         {"float": "inf"}    inf, -inf or nan
    {"items": [..]}     another dict, [key, value] each     {"tuple": [..]}     a tuple
    {"counter": [..]}   a Counter, likewise                 {"array": ..}       a numpy array
    {"tensor": name}    a tensor                            {"number": ..}      a numpy number

So what is read has the types of what was written, and reading makes no object of any other type.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

Tree: TypeAlias = Any
"""None, bools, numbers, texts, tensors, numpy arrays; lists, tuples and dicts of such."""

Node: TypeAlias = Any
"""The JSON value that stands for a tree."""

MAX_DEPTH = 50
"""How deep trees may nest. Those of optimisers have 4 levels; JSON is twice as deep."""

DTYPES = frozenset(
    {
        torch.bool,
        torch.uint8,
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    }
)
"""What a safetensors file holds. Complex tensors are written as pairs of real numbers."""

Path: TypeAlias = tuple[Any, ...]
"""The keys that lead to a value."""


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or used here; the message says why and what to do."""


class Encoder:
    """Turns trees into nodes, and collects their tensors.

    Attributes:
        tensors: The tensors by name, contiguous and on the CPU; no two share memory.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._named: dict[tuple[Any, ...], Node] = {}
        self._storages: set[int] = set()

    def encode(self, value: Tree, path: Path = ()) -> Node:
        """Return the node of a tree.

        Args:
            value: The tree.
            path: The keys that lead to it, from which the names of its tensors are made.

        Raises:
            CheckpointError: A value in it is of another type, or it nests too deep.
        """
        if len(path) > MAX_DEPTH:
            raise CheckpointError(
                f"{_named(path[:4])} nests more than {MAX_DEPTH} deep, as what contains itself "
                "does; leave it out of the checkpoint"
            )
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if kind in (list, tuple):
            parts = [self.encode(part, (*path, i)) for i, part in enumerate(value)]
            return parts if kind is list else {"tuple": parts}
        if kind in (dict, OrderedDict, Counter):
            return self._dict(value, path)
        if kind in (Tensor, nn.Parameter):
            return self._tensor(value.detach(), path)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value, path)
        raise _refused(path, f"of type {kind.__module__}.{kind.__qualname__}")

    def _dict(self, value: Mapping[Any, Tree], path: Path) -> Node:
        if type(value) is not Counter and all(type(key) is str for key in value):
            return {"dict": {key: self.encode(part, (*path, key)) for key, part in value.items()}}
        items = []
        for key, part in value.items():
            if type(key) not in (str, int, float, bool, tuple, type(None)):
                raise _refused((*path, key), f"under a key of type {type(key).__qualname__}")
            items.append([self.encode(key, (*path, "key")), self.encode(part, (*path, key))])
        return {"counter" if type(value) is Counter else "items": items}

    def _tensor(self, value: Tensor, path: Path) -> Node:
        if value.layout != torch.strided or value.device.type == "meta" or value.is_nested:
            raise _refused(path, f"a tensor on {value.device} of layout {value.layout}")
        storage = value.untyped_storage().data_ptr()
        # Tied weights are one tensor, written once.
        place = (value.device, storage, value.storage_offset(), value.shape, value.stride())
        key = (*place, value.dtype, value.is_conj(), value.is_neg())
        if value.numel() and key in self._named:
            return self._named[key]
        plain = value.resolve_conj().resolve_neg()
        node: dict[str, Node] = {}
        if plain.is_complex():
            plain, node["complex"] = torch.view_as_real(plain), True
        if plain.dtype not in DTYPES:
            raise _refused(path, f"a tensor of dtype {value.dtype}")
        if (order := _memory_order(plain)) is not None:
            plain, node["order"] = plain.permute(order), order
        plain = plain.cpu().contiguous()
        if storage in self._storages and plain.untyped_storage().data_ptr() == storage:
            plain = plain.clone()  # a view of what is there already: the format has none
        self._storages.add(storage)
        self.tensors[name := self._name(path)] = plain
        self._named[key] = {"tensor": name, **node}
        return self._named[key]

    def _array(self, value: Any, path: Path) -> Node:  # noqa: ANN401
        try:
            # The copy, in case it cannot be written to, which torch warns of; and in native order.
            tensor = torch.from_numpy(np.array(value, order="C"))
        except (TypeError, ValueError):
            raise _refused(path, f"of numpy's dtype {value.dtype}") from None
        kind = "array" if isinstance(value, np.ndarray) else "number"
        return {kind: self._tensor(tensor, path)}

    def _name(self, path: Path) -> str:
        """Return a name that no other tensor has: keys may have dots too."""
        name = _named(path)
        while name in self.tensors or name == "__metadata__":
            name += "'"
        return name


def _memory_order(value: Tensor) -> list[int] | None:
    """Return the dimensions as they lie in memory, where that is another order without gaps.

    A convolution in channels_last is such a tensor; its optimiser's state goes on in that order.
    """
    if value.is_contiguous():
        return None
    strides = value.stride()
    order = sorted(range(value.ndim), key=lambda dim: -strides[dim])
    return order if value.permute(order).is_contiguous() else None


def decode(node: Node, tensors: Mapping[str, Tensor]) -> Tree:
    """Return the tree of a node.

    Raises:
        CheckpointError: The node is none that `Encoder` makes.
    """
    if node is None or type(node) in (bool, int, float, str):
        return node
    if type(node) is list:
        return [decode(part, tensors) for part in node]
    kinds = _DECODERS.keys() & node.keys() if type(node) is dict else set()
    if len(kinds) != 1:
        raise CheckpointError(f"there is no value of the kind {sorted(node)}")
    (kind,) = kinds
    return _DECODERS[kind](node, tensors)


def _pairs(node: Node, tensors: Mapping[str, Tensor]) -> dict[Any, Tree]:
    (items,) = node.values()
    return {decode(key, tensors): decode(part, tensors) for key, part in items}


def _stored(node: Node, tensors: Mapping[str, Tensor]) -> Tensor:
    tensor = tensors[node["tensor"]]
    if "order" in node:
        order = node["order"]
        tensor = tensor.permute([order.index(dim) for dim in range(len(order))])
    return torch.view_as_complex(tensor) if "complex" in node else tensor


def _array(node: Node, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    ((kind, inner),) = node.items()
    array = _stored(inner, tensors).numpy()
    return array if kind == "array" else array[()]


_DECODERS: dict[str, Callable[[Node, Mapping[str, Tensor]], Tree]] = {
    "dict": lambda node, tensors: {k: decode(part, tensors) for k, part in node["dict"].items()},
    "items": _pairs,
    "counter": lambda node, tensors: Counter(_pairs(node, tensors)),
    "tuple": lambda node, tensors: tuple(decode(part, tensors) for part in node["tuple"]),
    "float": lambda node, tensors: float(node["float"]),
    "tensor": _stored,
    "array": _array,
    "number": _array,
}


def _named(path: Path) -> str:
    return ".".join(map(str, path)) or "the checkpoint"


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{_named(path)} is {what}, and a checkpoint holds numbers, texts, None, dense tensors, "
        "numpy arrays, and lists, tuples and dicts of these; leave it out, or save what it is made "
        "from"
    )
