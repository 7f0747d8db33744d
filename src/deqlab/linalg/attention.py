"""Attention by matrix products, where a second derivative is asked for.

torch computes `scaled_dot_product_attention` by fused kernels, on every kind of device, and none of
them has a second derivative or forward mode. The same formula written as matrix products, which
torch has as well, has both; it agrees with the fused ones to rounding, and takes the memory of the
matrix of attention weights.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from deqlab.linalg.products import tape_nodes


class _Choice:
    """The kernel that torch uses, which is one setting for all threads.

    The first to come sets it, and the last to go puts back what it was. If each put back what it
    had found, two threads that overlap could leave it set for ever.
    """

    def __init__(self) -> None:
        self.lock, self.users = Lock(), 0
        self.setting: AbstractContextManager[object] | None = None

    def enter(self) -> None:
        with self.lock:
            if self.users == 0:
                self.setting = sdpa_kernel(SDPBackend.MATH)
                self.setting.__enter__()
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0 and self.setting is not None:
                self.setting.__exit__(None, None, None)


_choice = _Choice()


@contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention by matrix products, unless the code inside chooses a kernel itself."""
    _choice.enter()
    try:
        yield
    finally:
        _choice.leave()


def uses_fused_attention(out: Tensor) -> bool:
    """Return whether a fused kernel stands on the tape of a tensor."""
    return any(node.name().startswith("ScaledDotProduct") for node in tape_nodes(out))
