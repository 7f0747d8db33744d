"""The kernels of explicit networks of infinite width.

With G_0 = X'X and one activation a layer, centred at the scale of its own pre-activations,

    CK     G_l = E[phi_l(u_i) phi_l(u_j)],                  (u_i, u_j) ~ N(0, G_(l-1))
    NTK    K_0 = eta_0 X'X,    K_l = eta_l G_l + K_(l-1) o D_l,    D_l = E[phi_l'(u_i) phi_l'(u_j)]

where eta_l is the step size of the weights that read layer l, relative to the others. All eta are
1 in the usual NTK (Jacot et al. 2018, arXiv:1806.07572). The coefficients are published by Gu et
al. (2024, arXiv:2403.00258) for eta = 1; with step sizes they are derived here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.base import Activation
from deqlab.kernels.base import Kernel
from deqlab.kernels.coefficients import Coefficients
from deqlab.kernels.data import Data
from deqlab.kernels.kinds import Kind, Trained
from deqlab.kernels.network import ExplicitNetwork
from deqlab.kernels.pairs import PairFunction, clamped
from deqlab.kernels.solved_pairs import Dual
from deqlab.kernels.tables import tabulated


@dataclass(frozen=True)
class ExplicitKernel(Kernel):
    """CK and NTK of a network with one hidden layer for each activation.

    Attributes:
        layers: The activations, from the input on; at least one.
        centred: Whether each is shifted by a constant to mean zero at its own scale.
        step_sizes: eta_0, ..., eta_L, each 0 or more; None for all 1.
    """

    layers: Sequence[Activation]
    centred: bool = True
    step_sizes: Sequence[float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise ValueError("layers needs at least one activation")
        if self.step_sizes is None:
            return
        object.__setattr__(self, "step_sizes", tuple(float(eta) for eta in self.step_sizes))
        if len(self.step_sizes) != len(self.layers) + 1:
            raise ValueError(
                f"step_sizes are one for X'X and one for each of the {len(self.layers)} layers, "
                f"got {len(self.step_sizes)}"
            )
        if not all(0 <= eta < float("inf") for eta in self.step_sizes):
            raise ValueError(f"step_sizes must be 0 or more, and finite, got {self.step_sizes}")

    @property
    def etas(self) -> tuple[float, ...]:
        """The step sizes, also where they are all 1."""
        return tuple(self.step_sizes or (1.0,) * (len(self.layers) + 1))

    def tangent(
        self,
        x: Data,
        y: Data | None = None,
        *,
        tau0: float | None = None,
        progress: bool = False,
    ) -> Float[Tensor, "n m"]:
        """Return the NTK of all pairs of rows; arguments as in `conjugate`."""
        return self._gram(x, y, tau0, progress, "tangent")

    def coefficients(self, tau0: float) -> Coefficients:
        """Return the numbers that decide the kernels in high dimension.

        Args:
            tau0: Root mean square norm of the data, above 0.

        Raises:
            ValueError: The kernel is not centred.
        """
        self._check_centred()
        tau, taus = tau0, []
        a1, a2, a3, a4 = 1.0, 0.0, 0.0, 1.0
        b1, b2, b3, kappa2 = self.etas[0], 0.0, 0.0, self.etas[0] * tau0**2
        gamma2 = tau0**2
        for phi, eta in zip(self.layers, self.etas[1:], strict=True):
            m = phi.moments(tau)
            taus.append(tau)
            previous = a1
            a1, a2, a3, a4 = (
                m.g1 * a1,
                m.g1 * a2 + m.g2 * a4**2 / 4,
                m.g1 * a3 + m.g2 * a1**2 / 2,
                m.q * a4 / 2,
            )
            b3 = eta * a3 + m.g1 * b3 + b1 * m.g2 * previous
            b1, b2 = eta * a1 + m.g1 * b1, eta * a2 + m.g1 * b2
            gamma2 = m.gamma2
            kappa2, tau = eta * gamma2 + kappa2 * m.d, gamma2**0.5
        return Coefficients(
            tau0=tau0,
            taus=tuple(taus),
            alpha1=a1,
            alpha2=a2,
            alpha3=a3,
            alpha4=a4,
            gamma2=gamma2,
            beta1=b1,
            beta2=b2,
            beta3=b3,
            kappa2=kappa2,
        )

    def centred_activations(self, tau0: float) -> list[Activation]:
        """Return each activation less its mean at its own scale; as they are, if not centred."""
        if not self.centred:
            return list(self.layers)
        tau = tau0
        shifted: list[Activation] = []
        for phi in self.layers:
            shifted.append(phi.centred(phi.mean(tau**2)))
            tau = phi.moments(tau).gamma2 ** 0.5
        return shifted

    def network(
        self,
        in_features: int,
        width: int,
        outputs: int = 1,
        *,
        tau0: float,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> ExplicitNetwork:
        """Return a network of finite width, whose kernel this is as the width grows.

        Args:
            in_features: p.
            width: m, of every layer.
            outputs: The number of outputs of the readout, which alone has parameters.
            tau0: Root mean square norm of the data.
            generator: Draws the weights.
            dtype: The dtype of the weights.
        """
        return ExplicitNetwork(
            self.centred_activations(tau0),
            in_features,
            width,
            outputs,
            generator=generator,
            dtype=dtype,
        )

    @override
    def _pairs(
        self, squares: Float[Tensor, " n"], tau0: float, kind: Kind, trained: Trained | None
    ) -> PairFunction:
        layers, tangent = self._layers(tau0, squares), kind == "tangent"

        def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            k, same = self.etas[0] * c, (a == b) & (c == a)
            for phi, eta in zip(layers, self.etas[1:], strict=True):
                slope = phi.dual_derivative(a, b, c) if tangent else None
                c = phi.dual(a, b, c)
                a, b = phi.dual(a, a, a), phi.dual(b.T, b.T, b.T).T
                c = torch.where(same, a, clamped(c, a, b))
                if slope is not None:
                    k = eta * c + k * slope
            return k if tangent else c

        return function

    def _layers(self, tau0: float, squares: Float[Tensor, " n"]) -> list[Dual]:
        """Return what knows the duals of each layer, for data of these squared norms."""
        layers: list[Dual] = []
        variances = squares[:, None]
        for phi in self.centred_activations(tau0):
            layers.append(tabulated(phi, variances))
            variances = layers[-1].dual(variances, variances, variances)
        return layers
