"""The kernels of a deep equilibrium model of infinite width.

    z* = phi(sigma_a A z* + sigma_b B x) / sqrt(m),    A (m x m), B (m x p), iid N(0, 1)

With S = s_a G + s_b X'X (s_a = sigma_a^2, s_b = sigma_b^2) and (u_i, u_j) ~ N(0, S_[ij]):

    CK     G_ij = E[phi(u_i) phi(u_j)], a fixed point in every entry
           D_ij = E[phi'(u_i) phi'(u_j)]
    NTK    K = G / (1 - s_a D)                        A and the readout are trained, B is frozen
           K = (G + s_b D o X'X) / (1 - s_a D)        B is trained too

Published: Ling et al. (2024, arXiv:2402.02697), the CK, the first NTK and the coefficients of
both. Derived for this library, and verified against finite networks: that the first NTK is the
one with B frozen; the second, and its coefficients.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.base import Activation
from deqlab.kernels.base import Kernel
from deqlab.kernels.coefficients import Coefficients, deq_coefficients
from deqlab.kernels.data import Data, as_data, check_tau0, norm_of
from deqlab.kernels.kinds import Kind, Trained, check_trained
from deqlab.kernels.network import ImplicitNetwork
from deqlab.kernels.pairs import PairFunction
from deqlab.kernels.solved_pairs import pair_function, solved_in_units


@dataclass(frozen=True)
class ImplicitKernel(Kernel):
    """CK and NTK of a DEQ at initialisation.

    Attributes:
        activation: phi.
        sigma_a2: s_a, the variance of the recurrent weights, at least 0.
        sigma_b2: s_b, of the input weights, above 0; None for 1 - s_a.
        centred: Whether phi is shifted by a constant to mean zero, E[phi(tau_* xi)] = 0. The
            equivalents of `kernels.equivalents` hold only then.
    """

    activation: Activation
    sigma_a2: float
    sigma_b2: float | None = None
    centred: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_a2 < float("inf"):
            raise ValueError(f"sigma_a2 must be 0 or more, and finite, got {self.sigma_a2}")
        if self.sigma_b2 is None and self.sigma_a2 >= 1:
            raise ValueError(
                f"sigma_b2 defaults to 1 - sigma_a2, which must be above 0; sigma_a2 is "
                f"{self.sigma_a2}: pass sigma_b2"
            )
        if not 0 < self.input_variance < float("inf"):
            raise ValueError(f"sigma_b2 must be more than 0, and finite, got {self.sigma_b2}")

    @property
    def input_variance(self) -> float:
        """s_b."""
        return 1 - self.sigma_a2 if self.sigma_b2 is None else self.sigma_b2

    def tangent(
        self,
        x: Data,
        y: Data | None = None,
        *,
        trained: Trained,
        tau0: float | None = None,
        progress: bool = False,
    ) -> Float[Tensor, "n m"]:
        """Return the NTK of all pairs of rows; arguments as in `conjugate`.

        Args:
            x: Data, (n, p), one sample a row.
            y: Other data, (m, p); None for x.
            trained: Which weights train, and make the kernel of their gradients.
            tau0: Fixes the centring; None for the root mean square norm of x.
            progress: Show a progress bar.
        """
        return self._gram(x, y, tau0, progress, "tangent", trained)

    def diagonal(
        self,
        x: Data,
        *,
        kind: Kind = "conjugate",
        trained: Trained | None = None,
        tau0: float | None = None,
    ) -> Float[Tensor, " n"]:
        """Return the kernel of each row with itself, in time that is linear in their number.

        Args:
            x: Data, (n, p), one sample a row.
            kind: The CK or the NTK.
            trained: Which weights train; an NTK needs it.
            tau0: Fixes the centring; None for the root mean square norm of x.
        """
        x = as_data(x)
        squares = (x * x).sum(dim=1)
        function = self._pairs(squares, norm_of(x, tau0), kind, trained)
        column = squares[:, None]
        return function(column, column, column)[:, 0]

    def coefficients(self, tau0: float, *, trained: Trained | None = None) -> Coefficients:
        """Return the numbers that decide the kernels in high dimension.

        Args:
            tau0: Root mean square norm of the data, above 0.
            trained: Which NTK the betas belong to; without it they are nan.

        Raises:
            ValueError: The kernel is not centred, or has no stable fixed point.
        """
        if trained is not None:
            check_trained(trained)
        self._check_centred()
        tau = self.tau(tau0)
        return deq_coefficients(
            self.activation.moments(tau),
            tau0,
            tau,
            sigma_a2=self.sigma_a2,
            sigma_b2=self.input_variance,
            trained=trained,
        )

    def tau(self, tau0: float) -> float:
        """Return tau_*, the standard deviation of the pre-activations.

        tau_*^2 = s_a E[phi(tau_* xi)^2] + s_b tau_0^2.

        Raises:
            ValueError: The kernel is not stable there, or phi is constant.
        """
        check_tau0(tau0)
        floor = self.input_variance * tau0**2

        def f(square: Tensor) -> Tensor:
            # An accelerated step may leave what a variance can be.
            tau = math.sqrt(max(float(square), floor))
            gamma2 = self.activation.moments(tau, centred=self.centred).gamma2
            return torch.full_like(square, self.sigma_a2 * gamma2 + floor)

        square, solution = solved_in_units(f, torch.full((1, 1), floor, dtype=torch.float64))
        tau = math.sqrt(max(float(square), floor))
        moments = self.activation.moments(tau, centred=self.centred)
        if moments.gamma2 <= 1e-30 * moments.mean**2:
            raise ValueError(
                f"{self.activation} is constant: less its mean nothing of it is left, nor a kernel"
            )
        slope = self.sigma_a2 * moments.d
        if slope >= 1 or not bool(solution.converged.all()):
            raise ValueError(
                f"sigma_a2 = {self.sigma_a2:g} is too large for {self.activation}: sigma_a2 "
                f"E[phi'(tau xi)^2] = {slope:.6g} at tau = {tau:.3g}, which must be below 1, and "
                "not so near it that tau is not found; a wide DEQ whose weights are too large does "
                "not contract, and has no kernel"
            )
        return tau

    def centred_activation(self, tau0: float) -> Activation:
        """Return phi less its mean at tau_*; phi itself if it is not to be centred."""
        if not self.centred:
            return self.activation
        return self.activation.centred(self.activation.mean(self.tau(tau0) ** 2))

    def network(
        self,
        in_features: int,
        width: int,
        outputs: int = 1,
        *,
        tau0: float,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> ImplicitNetwork:
        """Return a DEQ of finite width, whose kernel this is as the width grows.

        Args:
            in_features: p.
            width: m.
            outputs: The number of outputs of the readout, which alone has parameters.
            tau0: Root mean square norm of the data.
            generator: Draws the weights.
            dtype: The dtype of the weights.
        """
        return ImplicitNetwork(
            self.centred_activation(tau0),
            in_features,
            width,
            outputs,
            sigma_a2=self.sigma_a2,
            sigma_b2=self.input_variance,
            generator=generator,
            dtype=dtype,
        )

    @override
    def _pairs(
        self, squares: Float[Tensor, " n"], tau0: float, kind: Kind, trained: Trained | None
    ) -> PairFunction:
        return pair_function(
            self.centred_activation(tau0),
            squares,
            sigma_a2=self.sigma_a2,
            sigma_b2=self.input_variance,
            kind=kind,
            trained=trained,
        )
