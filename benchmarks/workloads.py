"""The maps that every measurement runs on, each hard in its own way.

A workload is drawn once, in float64 from a fixed seed, and rounded to float32: both precisions
then speak of exactly the same problem, and the float64 solution is gold for the float32 one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.cells import kinked, residual, rowwise_tanh, tanh, transformer

CONSTANTS = frozenset({"scale"})
"""Names of tensors that need no gradient."""

ROWWISE = frozenset({"x", "scale"})
"""Names of tensors that have one row for each row of z."""


@dataclass(frozen=True)
class Workload:
    """z = f(z, *tensors), and the loss <cotangent, z*>.

    Attributes:
        key: One letter, the name on the command line.
        what: A few words for a table.
        cell: f, called as cell(z, *tensors).
        z0: Where every solver starts.
        tensors: The input x, the weights, and constants; in the order that `cell` takes them.
    """

    key: str
    what: str
    cell: Callable[..., Tensor]
    z0: Tensor
    tensors: dict[str, Tensor]

    def arguments(
        self, dtype: torch.dtype = torch.float32, *, trainable: bool = False
    ) -> list[Tensor]:
        """Return fresh tensors for `cell`; the trainable ones as leaves of a tape if asked."""
        return [
            tensor.to(dtype, copy=True).requires_grad_(trainable and name not in CONSTANTS)
            for name, tensor in self.tensors.items()
        ]

    def rowwise(self) -> list[bool]:
        """Return which arguments have one row for each row of z."""
        return [name in ROWWISE for name in self.tensors]

    def map(self, dtype: torch.dtype = torch.float32) -> Callable[[Tensor], Tensor]:
        """Return z -> f(z) in one precision, without gradients."""
        cell, arguments = self.cell, self.arguments(dtype)
        return lambda z: cell(z, *arguments)

    def cotangent(self) -> Tensor:
        """Return the gradient of the loss with respect to z*: a fixed normal draw."""
        rng = torch.Generator().manual_seed(1)
        return torch.randn(self.z0.shape, generator=rng, dtype=torch.float64).float()


class Draw:
    """Random tensors in float64, as a sequence that starts at a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.rng, dtype=torch.float64)

    def of_norm(self, norm: float, dim: int) -> Tensor:
        """Return a Gaussian matrix scaled to a spectral norm; its spectral radius is near half."""
        w = self.normal(dim, dim)
        return norm * w / torch.linalg.matrix_norm(w, ord=2)

    def symmetric(self, low: float, high: float, dim: int = 128) -> Tensor:
        """Return a symmetric matrix with evenly spaced eigenvalues: its norm is its radius."""
        basis, _ = torch.linalg.qr(self.normal(dim, dim))
        return (basis * torch.linspace(low, high, dim, dtype=torch.float64)) @ basis.T


def _tanh_workload(key: str, what: str, w: Tensor, x: Tensor) -> Workload:
    x = x.float()
    return Workload(key, what, tanh, torch.zeros_like(x), {"x": x, "w": w.T.float()})


def _rowwise_workload(key: str, what: str, w: Tensor, x: Tensor, scale: Tensor) -> Workload:
    x, scale = x.float(), scale[:, None].float()
    tensors = {"x": x, "w": w.T.float(), "scale": scale}
    return Workload(key, what, rowwise_tanh, torch.zeros_like(x), tensors)


def _tanh_workloads() -> list[Workload]:
    """Return those with a tanh cell; they share one sequence, so that their order matters."""
    draw = Draw(0)
    mixed, lone = torch.full((64,), 0.3), torch.full((256,), 0.3)
    mixed[-4:], lone[-1] = 0.97, 0.999
    return [
        _tanh_workload("a", "tanh 256 x 512", draw.of_norm(0.9, 512), draw.normal(256, 512)),
        _tanh_workload("b", "tanh 64 x 64", draw.of_norm(0.9, 64), draw.normal(64, 64)),
        _tanh_workload(
            "e", "stiff, to .99", draw.symmetric(-0.99, 0.99), 0.1 * draw.normal(64, 128)
        ),
        _tanh_workload("f", "not contractive", draw.symmetric(-3.0, 0.0), draw.normal(64, 128)),
        _rowwise_workload(
            "g", "4 rows of 64 at .97", draw.symmetric(-1.0, 1.0), 0.1 * draw.normal(64, 128), mixed
        ),
        _rowwise_workload(
            "h",
            "1 row of 256 at .999",
            draw.symmetric(-1.0, 1.0),
            0.1 * draw.normal(256, 128),
            lone,
        ),
    ]


def _norms(count: int, width: int) -> dict[str, Tensor]:
    norms = {}
    for i in range(1, count + 1):
        norms |= {f"weight{i}": torch.ones(width), f"bias{i}": torch.zeros(width)}
    return norms


def _residual_workload(key: str, what: str, cell: Callable[..., Tensor], std: float) -> Workload:
    draw, channels = Draw(2), 48
    x = draw.normal(32, channels, 32, 32).float()

    def convolution() -> Tensor:
        return (std * draw.normal(channels, channels, 3, 3)).float()

    tensors = {"x": x, "conv1": convolution(), "conv2": convolution(), **_norms(3, channels)}
    return Workload(key, what, cell, torch.zeros_like(x), tensors)


def _transformer_workload() -> Workload:
    draw, width = Draw(3), 128
    # A large input and small weights: the block contracts because its input outweighs z where the
    # norms divide. With these numbers torchdeq's Anderson takes 13 evaluations to 1e-4.
    x = 3.5 * draw.normal(16, 64, 3 * width)

    def linear(rows: int, columns: int) -> Tensor:
        return (0.2 * draw.normal(rows, columns) / columns**0.5).float()

    tensors = {
        "x": x.float(),
        "qkv": linear(3 * width, width),
        "out": linear(width, width),
        "up": linear(4 * width, width),
        "up_bias": torch.zeros(4 * width),
        "down": linear(width, 4 * width),
        "down_bias": torch.zeros(width),
        **_norms(2, width),
    }
    return Workload("d", "transformer block", transformer, torch.zeros(16, 64, width), tensors)


KEYS = "abcdefghk"


def workloads(keys: str = KEYS) -> list[Workload]:
    """Return the workloads named by their letters, in alphabetical order."""
    unknown = sorted(set(keys) - set(KEYS))
    if unknown:
        raise ValueError(f"no workload {', '.join(unknown)}; there are a to h, and k")
    every = _tanh_workloads()
    if "c" in keys:
        # Weights that let the Anderson acceleration of torchdeq 0.1.0 take 17 evaluations to 1e-4.
        every.append(_residual_workload("c", "residual convolution", residual, 0.016))
    if "k" in keys:
        every.append(_residual_workload("k", "the same with relu", kinked, 0.0125))
    if "d" in keys:
        every.append(_transformer_workload())
    return sorted((w for w in every if w.key in keys), key=lambda workload: workload.key)
