"""Whoever is diagnosed is left as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from deqlab.maps.reachable import reachable


@contextmanager
def left_as_it_was(*roots: object) -> Iterator[None]:
    """Give modules their buffers back, and torch its random numbers, whatever happens inside."""
    modules = reachable(*roots).modules
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in _own(module)]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


def _own(module: nn.Module) -> list[Tensor]:
    return [buffer for buffer in module._buffers.values() if isinstance(buffer, Tensor)]
