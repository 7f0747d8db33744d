"""Batches of cotangents at once, as `is_grads_batched` and `vectorize=True` make them.

What follows numbers cannot run on a batched tensor: each cotangent is solved for by itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map

from deqlab.maps.transforms import set_aside


def one_by_one(function: Callable[[Tensor], Any], cotangent: Tensor) -> Any:  # noqa: ANN401
    """Return function(cotangent), one after the other where that is a batch of cotangents.

    Args:
        function: Returns a tensor, or a tuple of tensors and None; the same ones are None for all
            cotangents.
        cotangent: A tensor, or one that `vmap` hides a batch in.

    Raises:
        NotImplementedError: torch.func, or forward mode, differentiates by the cotangent.
    """
    if _functorch.is_legacy_batchedtensor(cotangent):
        with _legacy_set_aside() as level:
            many = torch._remove_batch_dim(cotangent, level, 1, 0)
            joined = _joined(function, many)
        return _each(lambda tensor: torch._add_batch_dim(tensor, 0, level), joined)
    if _functorch.is_batchedtensor(cotangent):
        level = _functorch.maybe_get_level(cotangent)
        many = _functorch.get_unwrapped(cotangent).movedim(_functorch.maybe_get_bdim(cotangent), 0)
        with set_aside():
            joined = one_by_one(lambda many: _joined(function, many), many)
        return _each(lambda tensor: _functorch._add_batch_dim(tensor, 0, level), joined)
    dual = forward_ad._current_level >= 0 and forward_ad.unpack_dual(cotangent).tangent is not None
    if dual or _functorch.is_functorch_wrapped_tensor(cotangent):
        raise NotImplementedError(
            "the gradient of fixed_point under a transform of torch.func, or in forward mode, that "
            "began after the solve and differentiates by its cotangent; call fixed_point within "
            "instead"
        )
    return function(cotangent)


@contextmanager
def _legacy_set_aside() -> Iterator[int]:
    """Leave the `vmap` of torch.autograd, which allows no random numbers; yield its level."""
    level = torch._C._vmapmode_decrement_nesting() + 1
    try:
        yield level
    finally:
        torch._C._vmapmode_increment_nesting()


def _joined(function: Callable[[Tensor], Any], many: Tensor) -> Any:  # noqa: ANN401
    """Return the results for all cotangents, one below the other."""
    results = [function(each) for each in many.unbind()]
    if isinstance(results[0], Tensor):
        return torch.stack(results)
    columns = zip(*results, strict=True)
    return tuple(None if column[0] is None else torch.stack(column) for column in columns)


def _each(change: Callable[[Tensor], Tensor], results: Any) -> Any:  # noqa: ANN401
    """Return the results with each tensor changed."""
    return tree_map(lambda each: change(each) if isinstance(each, Tensor) else each, results)
