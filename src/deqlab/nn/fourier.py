"""A Fourier layer: a linear map of fields that is one matrix of channels for each Fourier mode.

    K z = W z + F^-1 (R F z)

W acts at each point, and R on the lowest modes alone (see `linalg.modes`). Explicit networks apply
it as it is, phi(K h + b), and `FourierCell` with a bounded norm. Source: Li et al. (2021), "Fourier
Neural Operator for Parametric Partial Differential Equations", eq. 2 and 4. Theirs keeps the same
modes and one more negative one, and has two matrices where k_2 = 0, of which the real part that is
taken at the end sees the mean alone: here every number counts.
"""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.linalg.modes import Modes, act_on_modes, blocks_of, check_grid, lowest_modes
from deqlab.nn.cells.constraints import full_precision


class FourierLayer(nn.Module):
    """phi(W h + F^-1 (R F h) + b), of fields (B, channels, H, W) to the same.

    Args:
        channels: Of h.
        modes: m: R acts on the modes below it, each way. H and W are 2 m - 1 or more.
        activation: phi, elementwise.

    Raises:
        TypeError: A number is of another kind.
        ValueError: A number is outside its domain.
    """

    def __init__(
        self, channels: int, modes: int, *, activation: Callable[[Tensor], Tensor] = torch.relu
    ) -> None:
        super().__init__()
        self.modes, self.activation = modes, activation
        self.pointwise, self.spectral = fourier_weights(channels, modes)
        self.bias = nn.Parameter(torch.zeros(channels))

    @override
    def forward(self, h: Float[Tensor, "B c H W"]) -> Float[Tensor, "B c H W"]:
        check_fields(self, h, len(self.bias), self.modes)
        with full_precision(h, self.pointwise, self.spectral, self.bias) as (z, w, free, bias):
            modes = lowest_modes(self.modes, *h.shape[-2:], dtype=z.dtype, device=z.device)
            out = mixed(z, w, blocks_of(free), modes) + bias[:, None, None]
        return self.activation(out.to(h.dtype))

    @override
    def extra_repr(self) -> str:
        return f"channels={len(self.bias)}, modes={self.modes}"


def fourier_weights(channels: int, modes: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Return free weights: W, (channels, channels), and those of R, one for each mode.

    Both are Gaussian. W has a norm of about 1, and the matrices of R a tenth of that: a layer
    begins as a pointwise map.

    Raises:
        TypeError: A number is not whole.
        ValueError: A number is below 1.
    """
    check_count("channels", channels)
    check_count("modes", modes)
    scale = 0.5 / channels**0.5  # a square matrix of such numbers has a norm of about 1
    across = 2 * modes - 1
    return (
        nn.Parameter(scale * torch.randn(channels, channels)),
        nn.Parameter(0.1 * scale * torch.randn(across, across, channels, channels)),
    )


def mixed(
    z: Float[Tensor, "B c H W"],
    w: Float[Tensor, "c c"],
    blocks: Complex[Tensor, "r m c c"],
    modes: Modes,
) -> Float[Tensor, "B c H W"]:
    """Return W z + F^-1 (R F z), with R in its blocks."""
    low = act_on_modes(z, blocks, modes).flatten(2)
    return torch.baddbmm(low, w.expand(len(z), -1, -1), z.flatten(2)).view(z.shape)


def check_fields(module: nn.Module, x: Tensor, num_inputs: int, modes: int) -> None:
    """Raise ValueError unless x is fields of so many channels, whose grid has so many modes.

    Args:
        module: Which takes them, for its name.
        x: The fields.
        num_inputs: Channels that it was made for.
        modes: m.
    """
    if x.ndim < 3 or x.shape[-3] != num_inputs:
        raise ValueError(
            f"{type(module).__name__} takes fields of shape (..., {num_inputs}, height, width), "
            f"got {tuple(x.shape)}"
        )
    check_grid(modes, *x.shape[-2:])
