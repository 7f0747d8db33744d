"""Fourier layers with injection as a cell, whose feedback has a norm that is known exactly.

    h_1 = phi(g K_1 z + U_1 x + b_1),    h_i = phi(K_i h_(i-1) + U_i x + b_i),    f(z, x) = h_n
    (K z)_k = M_k z_k at the modes |k| < m,    W z_k at all others.

W is one matrix of channels, as a pointwise linear map of fields has it, and M_k one for each of the
lowest Fourier modes (see `linalg.modes`). They are W and W + R_k of free weights, each divided by
its spectral norm where that is above 1. In the Fourier basis K is block-diagonal, hence

    |K| = max(|W|, max over k of |M_k|) <= 1,    |f(z, x) - f(z', x)| <= g L^n |z - z'|

with L the Lipschitz constant of phi: f contracts where g L^n < 1 (Banach 1922), at all weights and
at every resolution that has the modes. There is no residual branch from z to f.

Source: the layer is that of Li et al. (2021), "Fourier Neural Operator for Parametric Partial
Differential Equations"; its fixed point, as a network for steady partial differential equations,
is that of Marwah, Pokle, Kolter, Lipton, Lu & Risteski (2023), "Deep Equilibrium Based Neural
Operators for Steady-State PDEs". The norms and the gain are deqlab's own.
"""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.linalg.modes import Modes, blocks_of, lowest_modes
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.cells.vectors import check_activation
from deqlab.nn.fourier import check_fields, fourier_weights, mixed
from deqlab.nn.knob import Knob, check_gain
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.norms import composed_two_norm
from deqlab.stability.slopes import slope_of


class FourierCell(Cell[Tensor]):
    """f(z, x): Fourier layers phi(K h + U x + b) in a row, with |K| at most 1 and a gain g on z.

    Shapes: x (..., num_inputs, H, W), z (..., channels, H, W), with H and W of 2 modes - 1 or more.
    A solve starts at zeros. No weight knows the resolution.

    Args:
        num_inputs: Channels of x.
        channels: Those of z.
        modes: m: the lowest modes are those below it, each way.
        layers: n, the layers inside of f.
        activation: phi, elementwise.
        gain: g at the start, at least 0.
        highest: The largest g that `knob` allows.

    Raises:
        TypeError: A number is of another kind.
        ValueError: A number is outside its domain.

    Example:
        >>> import torch
        >>> from deqlab import DEQ
        >>> deq = DEQ(FourierCell(3, 8, modes=4))
        >>> deq(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 8, 16, 16])
        >>> deq.cell.certificate().unique
        True
    """

    gain: Float[Tensor, ""]

    def __init__(
        self,
        num_inputs: int,
        channels: int,
        modes: int,
        *,
        layers: int = 1,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        gain: float = 0.9,
        highest: float = 1.0,
    ) -> None:
        super().__init__()
        check_count("num_inputs", num_inputs)
        check_count("layers", layers)
        check_activation(activation)
        check_gain(gain, highest)
        self.channels, self.modes = channels, modes
        self.activation, self.highest = activation, highest
        self.register_buffer("gain", torch.tensor(float(gain)))
        made = [fourier_weights(channels, modes) for _ in range(layers)]
        self.pointwise = nn.ParameterList(pointwise for pointwise, _ in made)
        self.spectral = nn.ParameterList(spectral for _, spectral in made)
        self.inject = nn.Conv2d(num_inputs, layers * channels, 1)

    sample_dims = 3

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=self.highest)

    @override
    def initial(self, x: Float[Tensor, "*B n H W"]) -> Float[Tensor, "*B c H W"]:
        check_fields(self, x, self.inject.in_channels, self.modes)
        return x.new_zeros(*x.shape[:-3], self.channels, *x.shape[-2:])

    @override
    def prepare(self, x: Float[Tensor, "B n H W"]) -> Prepared:
        check_fields(self, x, self.inject.in_channels, self.modes)
        layers = self.weights()
        w, blocks = layers[0]
        modes = lowest_modes(self.modes, *x.shape[-2:], dtype=w.dtype, device=w.device)
        # A copy of g: a controller may set it before the backward pass.
        gain = self.gain.clone()
        layers[0] = gain * w, gain * blocks
        shared = [(w, blocks - w) for w, blocks in layers]
        return Prepared(shared=(shared, modes), rows=self.inject(x))

    @override
    def update(
        self,
        z: Float[Tensor, "B c H W"],
        shared: tuple[list[tuple[Tensor, Tensor]], Modes],
        rows: Float[Tensor, "B n H W"],
    ) -> Float[Tensor, "B c H W"]:
        layers, modes = shared
        with full_precision(z, rows) as (h, injected):
            for (w, blocks), each in zip(layers, injected.chunk(len(layers), dim=1), strict=True):
                h = self.activation(mixed(h, w, blocks, modes).add_(each))
        return h.to(z.dtype)

    @override
    @torch.no_grad()
    def certificate(self) -> Certificate:
        """Return whether f is proved to contract, in the Euclidean norm.

        Unknown where the Lipschitz constant of the activation is: see `stability.slope_of`.
        """
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        slope = slope_of(self.activation)
        if slope is None:
            return Certificate.unknown(
                f"the Lipschitz constant of {self.activation!r} is not known: use an activation "
                "that stability.slope_of knows"
            )
        return composed_two_norm(self.weights(), slope=slope.lipschitz, gain=self.gain.item())

    def weights(self) -> list[tuple[Float[Tensor, "c c"], Complex[Tensor, "r m c c"]]]:
        """Return W and all M_k with k_2 of 0 or more of each layer, of norm 1 at most."""
        found = []
        for pointwise, spectral in zip(self.pointwise, self.spectral, strict=True):
            with full_precision(pointwise, spectral) as (w, free):
                found.append((capped(w), capped(w + blocks_of(free))))
        return found

    @override
    def extra_repr(self) -> str:
        return (
            f"channels={self.channels}, modes={self.modes}, layers={len(self.pointwise)}, "
            f"highest={self.highest}"
        )


def capped(matrices: Tensor) -> Tensor:
    """Return the matrices (..., c, c), each divided by its spectral norm where that is above 1."""
    # Not matrix_norm: it takes another routine, and rounds otherwise, if a tape is on.
    norms = torch.linalg.svd(matrices, full_matrices=False)[1][..., :1, None]
    within: Tensor = matrices / norms.clamp_min(1.0)
    return within
