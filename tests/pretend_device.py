"""A device that is not there, for tests on a machine without one.

`torch.device("pretend")` does to code what a GPU does: a product of its tensors with those of the
CPU is refused, so is `.numpy()`, and whatever makes the host wait for it is counted: a number that
is looked at, a mask that selects, a copy to the host. It says nothing about speed.

    x = pretend(torch.randn(4, 3))
    with waits() as counts:
        x.sum().item()
    assert counts.total() == 1

It stands on torch's python backend, which is experimental. The autograd thread of such a device may
abort a process as it ends, so that tests use it in a process of their own (see `benchmarks.waits`).
"""

import contextlib
from collections import Counter

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
_setup_privateuseone_for_python_backend(NAME)
DEVICE, HOST = torch.device(NAME, 0), torch.device("cpu")
aten = torch.ops.aten

WAITING = {
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.item.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.unique_dim.default,
}
"""Operators whose result the host has to see, or whose shape hangs on numbers."""

INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
"""Those that do so if an index is a mask."""

MADE = (
    "arange",
    "arange.start",
    "arange.start_step",
    "empty.memory_format",
    "empty_strided",
    "eye",
    "eye.m",
    "full",
    "linspace",
    "ones",
    "rand",
    "randn",
    "scalar_tensor",
    "zeros",
)
"""Operators that make a tensor there out of nothing."""

_counting: list[Counter] = []


class Pretend(Tensor):
    """A tensor that says it is elsewhere.

    Attributes:
        raw: Its numbers, on the CPU.
    """

    raw: Tensor

    @staticmethod
    def __new__(cls, raw, requires_grad=False):
        made = Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            layout=raw.layout,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.raw = raw
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self):
        return f"pretend({self.raw!r})"

    def __format__(self, spec):
        return format(self.item(), spec) if self.ndim == 0 else object.__format__(self, spec)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (aten._to_copy.default, aten.copy_.default):
            return _moved(func, args, kwargs)
        for leaf in pytree.tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and not isinstance(leaf, cls) and leaf.ndim > 0:
                raise RuntimeError(f"{func} got tensors of {DEVICE} and of {leaf.device}")
        indices = args[1] if func in INDEXING else ()
        if func in WAITING or any(i is not None and i.dtype == torch.bool for i in indices):
            _note(str(func))
        device = kwargs.get("device")
        out = func(*pytree.tree_map(_raw, args), **pytree.tree_map(_raw, kwargs))
        if device is not None and torch.device(device).type != NAME:
            return out
        if func._schema.is_mutable and args and isinstance(args[0], cls):
            return args[0] if isinstance(out, Tensor) else pytree.tree_map(_wrapped, out)
        return pytree.tree_map(_wrapped, out)


def pretend(tensor):
    """Return the tensor on the device; a leaf that requires a gradient stays one."""
    return Pretend(tensor.detach().clone()).requires_grad_(tensor.requires_grad)


def module_there(module):
    """Move the parameters and buffers of a module there, and return it."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                there = pretend(parameter.detach())
                part._parameters[name] = nn.Parameter(there, parameter.requires_grad)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = pretend(buffer)
    return module


@contextlib.contextmanager
def waits():
    """Count what makes the host wait for the device, by operator."""
    counts = Counter()
    _counting.append(counts)
    try:
        yield counts
    finally:
        _counting.remove(counts)


def _note(what):
    for counts in _counting:
        counts[what] += 1


def _moved(func, args, kwargs):
    if func is aten.copy_.default:
        to, source = args[0], args[1]
        if isinstance(to, Pretend):
            to.raw.copy_(_raw(source))
        else:
            _note("copy to the host")
            to.copy_(_raw(source))
        return to
    source, device = args[0], kwargs.pop("device", None)
    raw = aten._to_copy.default(_raw(source), **kwargs)
    device = DEVICE if device is None and isinstance(source, Pretend) else device
    if device is not None and torch.device(device).type == NAME:
        return Pretend(raw)
    if isinstance(source, Pretend):
        _note("copy to the host")
    return raw


def _raw(value):
    if isinstance(value, Pretend):
        return value.raw
    return HOST if isinstance(value, torch.device) and value.type == NAME else value


def _wrapped(value):
    plain = isinstance(value, Tensor) and not isinstance(value, Pretend)
    return Pretend(value) if plain else value


def _maker(packet, overload):
    operator = getattr(getattr(aten, packet), overload or "default")

    def make(*args, **kwargs):
        kwargs["device"] = HOST
        return Pretend(operator(*args, **kwargs))

    return make


_library = torch.library.Library("aten", "IMPL")
_library.impl(
    "_to_copy", lambda *args, **kwargs: _moved(aten._to_copy.default, args, kwargs), "PrivateUse1"
)
for _name in MADE:
    _library.impl(_name, _maker(*_name.partition(".")[::2]), "PrivateUse1")
