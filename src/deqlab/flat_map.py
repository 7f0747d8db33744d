"""f as one fixed map on (B, D) matrices, whatever the caller wrote.

A solve evaluates f many times, and its backward pass evaluates it again, later and elsewhere. It
has a fixed point only if all of these are the same map. So f always runs

- on the random numbers of its first evaluation (a dropout mask is drawn once a solve);
- under the autocast settings of the solve.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.autograd import forward_ad

from deqlab.state import Layout, State


class FlatMap:
    """f on (B, D) matrices."""

    def __init__(self, f: Callable[..., State], layout: Layout, device: torch.device) -> None:
        self.f, self.layout, self.device = f, layout, device
        self.evaluated = False
        # What methods may look at for the structure of f.
        self.origin = f if layout.is_matrix else self
        self.autocast = _autocast_settings(device)
        self.random: Tensor | None = None  # the state of the generator, if f draws from it

    def __call__(self, z: Tensor, *args: object) -> Tensor:
        """Return f(z, *args) as a matrix.

        Raises:
            ValueError: f changed the structure, a shape or a dtype of z, or wrote to it.
            NotImplementedError: f depends on a tensor that torch.func or forward-mode
                differentiation follows.
        """
        version = None if z.is_inference() else z._version
        if not self.evaluated:
            fz = self._first(z, args)
        elif self.random is None:
            with self._settings():
                fz = self._evaluate(z, args)
        else:
            present = _random_state(self.device)
            _set_random_state(self.device, self.random)
            with self._settings():
                fz = self._evaluate(z, args)
            _set_random_state(self.device, present)
        if version is not None and z._version != version:
            raise ValueError("f wrote to z in place; it must return a new tensor")
        return fz

    @property
    def is_random(self) -> bool:
        """Whether f draws random numbers, as far as is known."""
        return self.random is not None

    def narrowed(self, batch: int) -> "FlatMap":
        """Return the map on as many rows.

        Raises:
            ValueError: f draws random numbers.
        """
        if self.is_random:
            raise ValueError(
                "rows_independent: f draws random numbers (a dropout in train mode?), so that its "
                "value for a row depends on how many rows there are; solve without "
                "rows_independent, or in eval mode"
            )
        part = FlatMap(self.f, self.layout.narrowed(batch), self.device)
        part.evaluated, part.autocast = True, self.autocast
        return part

    def _first(self, z: Tensor, args: tuple[object, ...]) -> Tensor:
        before = _random_state(self.device)
        fz = self._evaluate(z, args)
        if not torch.equal(before, _random_state(self.device)):
            self.random = before
        check_not_followed(fz)
        self.evaluated = True
        return fz

    def _evaluate(self, z: Tensor, args: tuple[object, ...]) -> Tensor:
        return self.layout.flatten(self.f(self.layout.unflatten(z), *args))

    def _settings(self) -> AbstractContextManager[object]:
        present = _autocast_settings(self.device)
        if present == self.autocast:
            return nullcontext()
        enabled, dtype = self.autocast
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled)


def check_not_followed(*tensors: object) -> None:
    """Raise unless every tensor is an ordinary one.

    Raises:
        NotImplementedError: torch.func or forward-mode differentiation follows a tensor.
    """
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            continue
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            raise NotImplementedError(
                "fixed_point under a transform of torch.func (grad, jvp, vmap, jacrev, ...): a "
                "solve decides row by row when to stop, which a transform cannot follow; use "
                "torch.autograd.grad instead, with create_graph=True for higher derivatives and "
                "one call for each row of a Jacobian; in place of vmap, give the batch to one solve"
            )
        if forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                "fixed_point under forward-mode differentiation: a solve has no tangent; use "
                "torch.autograd.grad instead (a Jacobian-vector product is the derivative of a "
                "vector-Jacobian product with respect to its vector)"
            )


def _autocast_settings(device: torch.device) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)


def _random_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
