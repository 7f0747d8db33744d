"""Tensors that a solve cannot hold still: parameters in training, large tensors beside modules.

To copy them in every solve would cost too much, and a copy of a parameter gets no gradient that is
its own. What f writes to them makes it another map at every evaluation. Autograd counts the writes
that it knows of; what was written in the first evaluation of a solve is compared, by its numbers,
once: before and after the second. A write that changes nothing any more (a weight that is clamped,
or masked) is none.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from deqlab.maps.held import Registered, version
from deqlab.maps.reachable import Reachable


class Watch:
    """The tensors that f can reach and that are not held.

    Args:
        found: What f can reach.
        loose: Tensors beside modules that are not held.
    """

    def __init__(self, found: Reachable, loose: Sequence[Tensor]) -> None:
        self.found, self.loose = found, loose
        self.parameters = list(_parameters(found.modules))
        self.versions = list(map(version, self._tensors()))
        self.suspects: list[tuple[Tensor, Tensor]] = []  # each with its numbers

    def _tensors(self) -> Iterator[Tensor]:
        yield from (parameter for _, _, parameter in self.parameters)
        yield from self.loose

    def replaced(self) -> Iterator[Registered]:
        """Yield the parameters in whose place the first evaluation put others."""
        for module, name, parameter in self.parameters:
            names = module._parameters
            left = names[name] if name in names else None  # noqa: SIM401, no `get`
            if left is not parameter:
                held = Registered(parameter, is_buffer=False, sure=True, by_value=False)
                held.owners, held.left = [(names, name)], left
                names[name] = parameter
                yield held

    def suspect(self) -> None:
        """Take note of what the first evaluation may have written.

        Raises:
            ValueError: It has written a tensor that a transform of torch.func wraps.
        """
        self.suspects = []
        for tensor, before in zip(self._tensors(), self.versions, strict=True):
            written = version(tensor) != before
            if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                if written:  # its numbers are no plain ones, to be compared
                    raise ValueError(self._sentence(tensor))
            elif written or self.found.hides_writes:
                self.suspects.append((tensor, tensor.detach().clone()))

    def check(self) -> None:
        """Raise if the second evaluation has written other numbers.

        Raises:
            ValueError: It has.
        """
        suspects, self.suspects = self.suspects, []
        for tensor, before in suspects:
            if not torch.equal(tensor.detach(), before):
                raise ValueError(self._sentence(tensor))

    def _sentence(self, tensor: Tensor) -> str:
        what = f"a tensor of shape {tuple(tensor.shape)}"
        for module, name, parameter in self.parameters:
            if parameter is tensor:
                what = f"{type(module).__name__}.{name}"
        return (
            f"f writes to {what} whenever it is called, and so is another map each time, which has "
            "no fixed point. A solve holds still, and updates once, buffers of modules (see "
            "register_buffer) and, in train mode, their parameters with requires_grad=False; or "
            "write to it after the solve"
        )


def _parameters(modules: Sequence[nn.Module]) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield the parameters of modules that are not held."""
    for module in modules:
        for name, parameter in module._parameters.items():
            # Any other kind keeps its numbers elsewhere, or has none yet.
            if type(parameter) is not nn.Parameter:
                continue
            if parameter.requires_grad or not module.training:
                yield module, name, parameter
