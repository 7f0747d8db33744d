"""What a network costs: parameters, floating-point operations, peak memory and seconds.

FLOPs come from `torch.utils.flop_counter`: matrix products, convolutions, attention and linear
systems of everything that runs, solver and adjoint iterations and the solver's own products
included; 2 per multiply-add, and 8 where numbers are complex. Fast Fourier transforms and singular
values are not counted.

On a CPU no allocator keeps a peak, so memory is followed from storage to storage: the bytes of
all that live at the same time, parameters and optimizer state included, but not the scratch
space inside one kernel; what a cycle of references keeps counts, and so does what a profiler in
another thread of this process holds. On CUDA it is the allocator's peak.
"""

import gc
import math
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from torch.utils.module_tracker import ModuleTracker
from typing_extensions import override

Result = TypeVar("Result")


def _of_a_linear_system(a: Sequence[int], b: Sequence[int], *args: object, **kwargs: object) -> int:
    """Return the FLOPs of A X = B by LU: 2/3 n^3 to factorise and 2 n^2 for each column.

    Args:
        a: Shape of A, (.., n, n).
        b: Shape of B, (.., n, k), or (.., n) for one column.
        args: What else the operator takes; it costs nothing.
        kwargs: Likewise.
    """
    *batch, n, _ = a
    columns = b[-1] if len(b) == len(a) else 1
    return math.prod(batch) * (2 * n**3 // 3 + 2 * n**2 * columns)


def _of_attention(
    q: Sequence[int], k: Sequence[int], v: Sequence[int], *args: object, **kwargs: object
) -> int:
    """Return the FLOPs of attention: those of q k' and of its product with v, causal or not.

    Args:
        q: Shape of the queries, (B, heads, T, e).
        k: Shape of the keys.
        v: Shape of the values.
        args: What else the operator takes.
        kwargs: Likewise.
    """
    return int(sdpa_flop_count(q, k, v))


def _of_attention_backward(
    grad: Sequence[int],
    q: Sequence[int],
    k: Sequence[int],
    v: Sequence[int],
    *args: object,
    **kwargs: object,
) -> int:
    """Return the FLOPs of its backward pass, which multiplies q k' once more."""
    return int(sdpa_backward_flop_count(grad, q, k, v))


def _of_a_substitution(a: Sequence[int], b: Sequence[int], *args: object, **kwargs: object) -> int:
    """Return the FLOPs of A X = B with A triangular: n^2 for each column.

    Args:
        a: Shape of A, (.., n, n).
        b: Shape of B, (.., n, k).
        args: What else the operator takes; it costs nothing.
        kwargs: Likewise.
    """
    return math.prod(a) * b[-1]


def _of_a_product(a: Tensor, b: Tensor, *args: object, **kwargs: object) -> int:
    """Return the FLOPs of A B: those of each entry of A that is stored, and each column of B.

    Args:
        a: A, (n, m), dense or sparse.
        b: B, (m, k), dense.
        args: What else the operator takes; it costs nothing.
        kwargs: Likewise.
    """
    stored = a.numel() if a.layout == torch.strided else a._nnz()
    return _per_multiply_add(a) * stored * b.shape[1]


def _of_products(a: Tensor, b: Tensor, *args: object, **kwargs: object) -> int:
    """Return the FLOPs of A B for each matrix of two batches.

    Args:
        a: (B, n, m).
        b: (B, m, k).
        args: What else the operator takes; it costs nothing.
        kwargs: Likewise.
    """
    return _per_multiply_add(a) * a.numel() * b.shape[2]


def _of_a_sum_and_products(c: Tensor, a: Tensor, b: Tensor, *args: object, **kwargs: object) -> int:
    """Return the FLOPs of C + A B, those of the product."""
    return _of_products(a, b)


def _per_multiply_add(a: Tensor) -> int:
    return 8 if a.is_complex() else 2


_TAKE_TENSORS: tuple[Any, ...] = (_of_a_product, _of_products, _of_a_sum_and_products)
for _count in _TAKE_TENSORS:
    _count._get_raw = True  # torch hands it tensors, not shapes

_UNCOUNTED = {
    torch.ops.aten.mm: _of_a_product,
    torch.ops.aten.bmm: _of_products,
    torch.ops.aten.baddbmm: _of_a_sum_and_products,
    torch.ops.aten._linalg_solve_ex: _of_a_linear_system,
    torch.ops.aten.linalg_solve_triangular: _of_a_substitution,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _of_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _of_attention_backward,
}
"""torch counts no linear system by itself, fused attention on CUDA only, a sparse matrix as if it
were dense, and complex numbers as if they were real."""


def num_parameters(model: nn.Module) -> int:
    """Return how many numbers a model trains."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def flops(run: Callable[[], Result]) -> tuple[int, Result]:
    """Return the floating-point operations of `run()`, and its result."""
    counter = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
    # torch's tracker hooks every module that runs, and autograd refuses its hooks where a gradient
    # is taken inside of a backward pass, as that of a solve is.
    counter.mod_tracker = _NoModules()
    with counter:
        result = run()
    return int(counter.get_total_flops()), result


class _NoModules(ModuleTracker):
    """Says of every operation that no module in particular asked for it."""

    @override
    def __enter__(self) -> "_NoModules":
        return self

    @override
    def __exit__(self, *error: object) -> None:
        """Nothing was hooked."""


def seconds(runs: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median wall time of each run; a machine that is busy is then so for all.

    Args:
        runs: What to measure; each is called once more beforehand, unmeasured.
        repeats: How often each is measured, in turns; at least 1.
    """
    for run in runs:
        run()
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for times, run in zip(taken, runs, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [median(times) for times in taken]


def peak_memory(run: Callable[[], object], held: Iterable[Tensor] = ()) -> int:
    """Return the peak memory of `run()` in bytes.

    Args:
        run: What to measure.
        held: Tensors that exist before: they count too (parameters, the batch).
    """
    held = list(held)
    if any(tensor.is_cuda for tensor in held):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        run()
        return int(torch.cuda.max_memory_allocated())
    # When a collection falls depends on all that ran before: with it, no two processes agree.
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _StorageTracker(held) as tracker:
            run()
    finally:
        if collecting:
            gc.enable()
    peak: int = tracker.peak
    return peak


class _StorageTracker(TorchDispatchMode):
    """Adds up the bytes of live storages. A storage's Python object lives as long as itself."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self.known: set[int] = set()
        for tensor in held:
            self._see(tensor)

    @override
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size
