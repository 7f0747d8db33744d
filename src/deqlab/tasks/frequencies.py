"""Regression on a sum of waves, and how much of each wave a prediction has learnt.

    y(x) = sum_j a_j e_j(x),    e_j(x) = sin(2 pi k_j x + phase_j),    x in [0, 1)

On the grid x_i = (i + 1/2) / n with n > 2 max k, waves of different whole frequencies are
orthogonal, and |e_j|^2 = n / 2. So the share of wave j in a prediction p is

    share_j = <p, e_j> / (a_j <e_j, e_j>),

1 where p holds the wave and 0 where it holds nothing of it, whatever p holds of others. It may
exceed 1, and is negative in opposite phase. By Parseval, (1 - share_j)^2 a_j^2 / 2 is the part of
the mean squared error in that wave.

Claim under test: DEQs have an advantage on high-frequency components, a conjecture of Wu et al.
(2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and Learning Dynamics". The
task is deqlab's own, after Rahaman et al. (2019), "On the Spectral Bias of Neural Networks".
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Waves:
    """A sum of waves of different frequencies.

    Attributes:
        frequencies: k_j, different whole numbers of at least 1: periods in [0, 1).
        amplitudes: a_j, one for each, not 0; None for 1 each.
        phases: One for each, in radians; None for 0 each.

    Example:
        >>> waves = Waves(frequencies=(1, 4), amplitudes=(2.0, 1.0))
        >>> x = waves.grid(100)
        >>> waves.shares(2 * torch.sin(2 * torch.pi * x)).round(decimals=3).abs().tolist()
        [1.0, 0.0]
    """

    frequencies: tuple[int, ...]
    amplitudes: tuple[float, ...] | None = None
    phases: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        known = self.frequencies
        if not known or min(known) < 1 or len(set(known)) < len(known):
            raise ValueError(
                f"frequencies needs different whole numbers of at least 1, got {list(known)}"
            )
        for name in ("amplitudes", "phases"):
            given = getattr(self, name)
            if given is not None and len(given) != len(known):
                raise ValueError(
                    f"{name} needs one number for each of {len(known)} frequencies, got "
                    f"{len(given)}"
                )
            if given is not None and not all(math.isfinite(value) for value in given):
                raise ValueError(f"{name} must be finite, got {list(given)}")
        if self.amplitudes is not None and 0 in self.amplitudes:
            raise ValueError(
                f"amplitudes must not be 0, got {list(self.amplitudes)}; leave that wave out"
            )

    def evaluate(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return y(x), computed in float64 and rounded to the dtype of x."""
        return (self._waves(x) @ self._amplitudes(x)).to(x.dtype)

    def sample(
        self, num_samples: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
        """Draw points x uniformly from [0, 1) and return them with y(x).

        Args:
            num_samples: n, at least 1.
            generator: The source of randomness; the samples live on its device.
            dtype: A floating-point dtype. The same seed gives the same points, rounded, in
                every dtype.

        Raises:
            ValueError: `num_samples` is below 1.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        x = torch.rand(
            num_samples, 1, generator=generator, device=generator.device, dtype=torch.float64
        ).to(dtype)
        return x, self.evaluate(x)

    def grid(self, num_points: int) -> Float[Tensor, "n 1"]:
        """Return the grid on which `shares` looks at predictions, in float64.

        Raises:
            ValueError: The grid is too coarse for the highest frequency.
        """
        self._check_grid(num_points)
        return ((torch.arange(num_points, dtype=torch.float64) + 0.5) / num_points)[:, None]

    def shares(self, prediction: Float[Tensor, "n 1"]) -> Float[Tensor, " j"]:
        """Return how much of each wave a prediction holds, in float64.

        Args:
            prediction: At the points of `grid(n)`, in their order.

        Raises:
            ValueError: The grid is too coarse for the highest frequency.
        """
        x = self.grid(len(prediction)).to(prediction.device)
        waves = self._waves(x)[:, 0]  # (n, j)
        held = waves.mT @ prediction[:, 0].double()
        return held / (self._amplitudes(x) * waves.square().sum(dim=0))

    def _waves(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape j"]:
        frequencies = torch.tensor(self.frequencies, dtype=torch.float64, device=x.device)
        phases = torch.tensor(
            self.phases or [0.0] * len(frequencies), dtype=torch.float64, device=x.device
        )
        # Whole periods drop out before they cost digits of the sine.
        return torch.sin(2 * torch.pi * torch.frac(x.double()[..., None] * frequencies) + phases)

    def _amplitudes(self, x: Tensor) -> Float[Tensor, " j"]:
        given = self.amplitudes or [1.0] * len(self.frequencies)
        return torch.tensor(given, dtype=torch.float64, device=x.device)

    def _check_grid(self, num_points: int) -> None:
        least = 2 * max(self.frequencies) + 1
        if num_points < least:
            raise ValueError(
                f"a grid for frequencies up to {max(self.frequencies)} needs at least {least} "
                f"points, got {num_points}: below that a wave looks like another"
            )
