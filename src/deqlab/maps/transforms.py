"""A map under transforms of torch.func, as one on plain rows.

`torch.func.grad`, `jvp` and `vmap` are levels of a stack: each wraps the tensors that it follows. A
solve looks at numbers, and is none of their business: it is set aside from them, on plain tensors,
and f alone runs within levels like those it was called in, where the tensors that it captures are
at home. A batch of problems is a batch of rows: what `vmap` hides is a dimension in front of the
batch.

The levels that f enters are new ones of the same numbers, so that f can be evaluated as long as its
tensors live, also in a backward pass after the transform has ended.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import (
    temporarily_clear_interpreter_stack,
    temporarily_pop_interpreter_stack,
)
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves

from deqlab.maps.flat_map import FlatMap


def are_active() -> bool:
    """Return whether transforms of torch.func, or forward-mode differentiation, are under way."""
    return forward_ad._current_level >= 0 or _functorch.peek_interpreter_stack() is not None


def is_followed(tensor: Tensor) -> bool:
    """Return whether a transform of torch.func wraps a tensor."""
    followed: bool = _functorch.is_functorch_wrapped_tensor(tensor)
    return followed


def level_of(tensor: Tensor) -> int:
    """Return the number of the level that wraps a tensor, -1 for a plain one."""
    number: int = _functorch.maybe_get_level(tensor)
    return number


class BatchedTooError(Exception):
    """f returned more than its inputs showed to be batched.

    Attributes:
        number: The level of the batch.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class Level:
    """One transform.

    Attributes:
        number: Its place in the stack, from 1.
        size: How many problems a `vmap` has; None for a level that differentiates.
        randomness: What that `vmap` says of random numbers.
        by_duals: Whether it differentiates in forward mode.
    """

    number: int
    size: int | None = None
    randomness: str = "error"
    by_duals: bool = False

    def enter(self, stack: ExitStack) -> None:
        """Begin a level of the same number."""
        if self.size is None:
            _functorch._grad_increment_nesting()
            stack.callback(_functorch._grad_decrement_nesting)
        else:
            _functorch._vmap_increment_nesting(self.size, self.randomness)
            stack.callback(_functorch._vmap_decrement_nesting)


@dataclass(frozen=True)
class Levels:
    """The transforms that a solve is called in, outermost first.

    Attributes:
        all: All of them.
        batched: The numbers of those over whose problems the solve is spread.
    """

    all: tuple[Level, ...]
    batched: frozenset[int] = frozenset()

    @classmethod
    def present(cls, *inputs: object) -> "Levels":
        """Return the levels of the call; those that batch an input are batched.

        Raises:
            NotImplementedError: One is `functionalize`.
        """
        found: list[Level] = []
        for each in _functorch.get_interpreter_stack() or ():
            if each.key() == _functorch.TransformType.Functionalize:
                raise NotImplementedError(
                    "fixed_point under torch.func.functionalize: a solve looks at its numbers, and "
                    "leaves no record of operators; call it outside instead"
                )
            by_duals = each.key() == _functorch.TransformType.Jvp
            if each.key() == _functorch.TransformType.Vmap:
                vmap = _functorch.CVmapInterpreterPtr(each)
                found.append(Level(each.level(), vmap.batchSize(), vmap.randomness().name.lower()))
            else:
                found.append(Level(each.level(), by_duals=by_duals))
        tensors = (leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor))
        return cls(tuple(found), frozenset(n for tensor in tensors for n in _batches(tensor)))

    def with_batch(self, number: int) -> "Levels":
        """Return the same, spread over one more."""
        return Levels(self.all, self.batched | {number})

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the batches that make rows."""
        batched = (each.size for each in self.all if each.number in self.batched)
        return tuple(size for size in batched if size is not None)

    @property
    def orders(self) -> int:
        """How often the result is differentiated, at most, by those who called."""
        outside = forward_ad._current_level >= 0 and not any(each.by_duals for each in self.all)
        return sum(each.size is None for each in self.all) + outside

    def rows(self, matrix: Float[Tensor, "B D"]) -> Float[Tensor, "R D"]:
        """Return the plain rows behind a matrix of one problem, called within these levels.

        Their tape is the one outside of all transforms.

        Raises:
            BatchedTooError: A batch has no part in the rows.
        """
        tensor: Tensor = matrix
        with ExitStack() as stack:
            for each in reversed(self.all):
                tensor = _functorch.unwrap_if_dead(tensor)
                if each.size is None:
                    tensor = _functorch._unwrap_for_grad(tensor, each.number)
                elif each.number in self.batched:
                    tensor = _functorch._remove_batch_dim(tensor, each.number, each.size, 0)
                elif level_of(tensor) == each.number:
                    raise BatchedTooError(each.number)
                # What is left is none of this level's business, and shall not be wrapped anew.
                stack.enter_context(temporarily_pop_interpreter_stack())
            if forward_ad._current_level >= 0:
                tensor = forward_ad.unpack_dual(tensor).primal
            return tensor.flatten(0, -2)

    def raised(self, tensor: Tensor) -> Tensor:
        """Return a plain tensor with the batches in front as one within these levels."""
        for each in self.all:
            if each.number in self.batched:
                tensor = _functorch._add_batch_dim(tensor, 0, each.number)
        return tensor

    def from_rows(self, rows: Tensor, *, dim: int = 0) -> Tensor:
        """Return a plain tensor, of which dimension `dim` counts rows, within these levels."""
        if not self.batched:
            return rows
        with set_aside():
            apart = rows.movedim(dim, 0).unflatten(0, (*self.sizes, -1))
            where = len(self.sizes)
            apart = apart.movedim(where, where + dim)
        return self.raised(apart)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Enter levels like these, from outside."""
        with ExitStack() as stack:
            for each in self.all:
                each.enter(stack)
            yield


def _batches(tensor: Tensor) -> Iterator[int]:
    """Yield the numbers of the levels that batch a tensor."""
    while is_followed(tensor):
        if _functorch.is_batchedtensor(tensor):
            yield level_of(tensor)
        tensor = _functorch.get_unwrapped(tensor)


@contextmanager
def set_aside() -> Iterator[None]:
    """Leave all transforms: tensors are plain, and have no tangents."""
    with temporarily_clear_interpreter_stack(), forward_ad._set_fwd_grad_enabled(False):
        yield


class OfRows:
    """A map within levels as one on plain rows, outside of them.

    Args:
        f: The map on the (B, D) matrix of one problem.
        args: What it is called with.
        levels: Where its tensors are at home.
    """

    def __init__(self, f: FlatMap, args: Sequence[object], levels: Levels) -> None:
        self.f, self.args, self.levels = f, args, levels

    def __call__(self, z: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
        """Return f on all rows."""
        levels = self.levels
        apart = z.unflatten(0, (*levels.sizes, -1)) if levels.batched else z
        with levels.entered():
            return levels.rows(self.f.evaluate(levels.raised(apart), self.args))
