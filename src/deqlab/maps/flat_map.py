"""f as one fixed map on (B, D) matrices, whatever the caller wrote.

A solve evaluates f many times, and its backward pass evaluates it again, later and elsewhere. It
has a fixed point only if all of these are the same map. So f always runs

- on the random numbers of its first evaluation (a dropout mask is drawn once a solve);
- on the tensors that it writes (buffers, mostly) as they were at the start of the solve, with one
  update at its end;
- under the autocast settings of the solve.

What f keeps in another way (a counter in Python, numpy's random numbers) is not held: draw such
numbers before the solve, and pass them as an argument.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deqlab.containers import State
from deqlab.maps.buffers import Buffers
from deqlab.maps.fair_lock import alone
from deqlab.maps.own_derivatives import OwnDerivatives
from deqlab.maps.random_numbers import RandomNumbers
from deqlab.maps.reachable import NOTHING_FOUND, reachable
from deqlab.maps.watch import Watch
from deqlab.state import Layout, computes_by_itself
from deqlab.tracing import check_not_traced


class FlatMap:
    """f on (B, D) matrices."""

    def __init__(self, f: Callable[..., State], layout: Layout, device: torch.device) -> None:
        self.f, self.layout, self.device = f, layout, device
        # What methods may look at for the structure of f.
        self.origin = f if layout.is_matrix else self
        self.autocast = _autocast_settings(device)
        self.held: _Held | None = None  # before the first evaluation
        self.reached: Sequence[Tensor] = ()  # tensors that f can name
        self.takes_derivatives = self.loses_gradient = False  # see `own_derivatives`
        # z and f(z) of the last evaluation, where somebody will compare another with it.
        self.keeps_latest = False
        self.latest: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, *args: object) -> Tensor:
        """Return f(z, *args) as a matrix.

        Raises:
            ValueError: f changed the structure, a shape, the dtype or the device of z, or wrote to
                it.
        """
        version, flag = None if z.is_inference() else z._version, z.requires_grad
        if self.held is None:
            fz = self._first(z, args)
        else:
            with self._settings():
                fz = self._again(self.held, z, args)
        if version is not None and z._version != version:
            raise ValueError("f wrote to z in place; it must return a new tensor")
        if z.requires_grad is not flag:  # f took a derivative by z
            z.requires_grad_(flag)
        if self.keeps_latest:
            self.latest = z, fz
        return fz

    @property
    def is_random(self) -> bool:
        """Whether f draws random numbers, as far as is known."""
        return self.held is not None and bool(self.held.random)

    @property
    def lowered(self) -> torch.dtype | None:
        """The dtype that autocast computes f in, None without autocast."""
        enabled, dtype = self.autocast
        return dtype if enabled else None

    @property
    def writes_buffers(self) -> bool:
        """Whether f writes buffers of modules, as far as is known."""
        return self.held is not None and bool(self.held.buffers)

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
        part.held, part.autocast = self.held, self.autocast
        return part

    def update_buffers(self, z_star: Tensor, *args: object) -> None:
        """Make the one update of the buffers that f writes: that of an evaluation at z_star."""
        assert self.held is not None
        random, buffers, watch = self.held
        with alone():
            if buffers.were_written_at(z_star):
                buffers.update()
                return
            nothing = _Held(random, Buffers(NOTHING_FOUND), watch)  # f may write
            with torch.no_grad(), self._settings():
                self._again(nothing, z_star, args)

    def _first(self, z: Tensor, args: tuple[object, ...]) -> Tensor:
        """Evaluate f, and find out what it draws and what it writes."""
        found = reachable(self.f, *args)
        self.reached, self.takes_derivatives = found.tensors, found.takes_derivatives
        random = RandomNumbers(self.device, found.generators)
        with alone() if found.modules else nullcontext():
            buffers = Buffers(found, args)
        watch = Watch(found, buffers.loose)
        fz = random.first(lambda: self._with_buffers(buffers, z, args))
        buffers.held.extend(watch.replaced())
        watch.suspect()
        self.held = _Held(random, buffers, watch)
        return fz

    def _again(self, held: "_Held", z: Tensor, args: tuple[object, ...]) -> Tensor:
        """Evaluate f with what it draws and what it writes as it was at the start."""
        if held.random:
            fz = held.random.again(lambda: self._with_buffers(held.buffers, z, args))
        else:
            fz = self._with_buffers(held.buffers, z, args)
        if held.watch.suspects:
            held.watch.check()
        return fz

    def _with_buffers(self, buffers: Buffers, z: Tensor, args: tuple[object, ...]) -> Tensor:
        if not buffers:
            return self.evaluate(z, args)
        with alone():
            return buffers.evaluate(z, lambda: self.evaluate(z, args))

    def evaluate(self, z: Tensor, args: Sequence[object]) -> Tensor:
        """Return f(z, *args) as it is now: nothing is held still."""
        image = self._image(self.layout.unflatten(z), args)
        device = self.device
        # A plain tensor where it belongs, told without a call: this runs at every evaluation.
        plain = type(image) is Tensor and image.layout is torch.strided and image.device == device
        if not plain:
            _check_image(image, device, type(z))
        fz = self.layout.flatten(image)
        if fz.requires_grad and not torch.is_grad_enabled():
            fz = fz.detach()  # f took a derivative of its own
        # A plain subclass (nn.Parameter, say) is the tensor that it is.
        return fz if type(fz) is Tensor or computes_by_itself(fz) else fz.as_subclass(Tensor)

    def _image(self, z: State, args: Sequence[object]) -> Any:  # noqa: ANN401, whatever f returns
        if not self.takes_derivatives or not torch.is_grad_enabled():
            return self.f(z, *args)
        with OwnDerivatives() as own:
            image = self.f(z, *args)
        self.loses_gradient = self.loses_gradient or own.are_lost_in(image)
        return image

    def _settings(self) -> AbstractContextManager[object]:
        present = _autocast_settings(self.device)
        if present == self.autocast:
            return nullcontext()
        enabled, dtype = self.autocast
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled)


class _Held(NamedTuple):
    """What every evaluation finds as the first one did."""

    random: RandomNumbers
    buffers: Buffers
    watch: Watch


def _check_image(image: object, device: torch.device, kind: type) -> None:
    """Raise ValueError if what f returned, or a part of it, is nothing that a solve can go on with.

    Of what structure z is, and of which shapes and dtypes, the layout knows; `kind` is the class of
    its tensors.
    """
    if isinstance(image, Mapping):
        for part in image.values():
            _check_image(part, device, kind)
    elif isinstance(image, list | tuple):
        for part in image:
            _check_image(part, device, kind)
    elif isinstance(image, Tensor):
        _check_tensor(image, device, kind)
    elif image is None:
        raise ValueError("f returned None; it must return a new z (is a return missing?)")
    elif isinstance(image, np.ndarray):
        raise ValueError(
            "f returned a numpy array, through which no gradient flows; it must return a tensor, "
            "computed by torch"
        )
    else:
        check_not_traced(image)


def _check_tensor(image: Tensor, device: torch.device, kind: type) -> None:
    if image.device != device:
        raise ValueError(f"f must stay on the device of z: {device} became {image.device}")
    if image.layout is not torch.strided:
        raise ValueError(
            f"f must return a dense tensor, got one of layout {image.layout}; return "
            "result.to_dense() (sparse tensors inside of f are fine)"
        )
    if computes_by_itself(image) and type(image) is not kind:
        raise ValueError(
            f"f must return a plain tensor, got a {type(image).__name__}, whose numbers lie "
            "elsewhere; convert it at the end of f (full_tensor() of a DTensor, for one)"
        )


def _autocast_settings(device: torch.device) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
