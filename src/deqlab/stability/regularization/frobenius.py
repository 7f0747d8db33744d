"""The mean square of the Jacobian, |J|_F^2 / D, by random vectors.

For v with E[v v'] = I, E |J'v|^2 = E |J v|^2 = |J|_F^2 (Hutchinson 1990). |J|_F^2 / D is the mean
of the squared singular values of J, and bounds from above the mean square of its eigenvalues: 1 is
the order at which a random J reaches the unit circle. It is no bound on the largest.

`Hutchinson` is exact in the mean: one product J'v, recorded, and differentiated once more. It is
the term of Bai, Koltun & Kolter (2021), with random signs for their Gaussian v.
`FiniteDifferences` takes J v = (f(z + h v) - f(z)) / h + O(h), two evaluations of f and no second
derivative.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.arguments import check_count, check_positive
from deqlab.maps.flat_map import FlatMap
from deqlab.stability.regularization.base import Regularizer, signs, sizes
from deqlab.stability.regularization.second_derivatives import Linearized


@dataclass(frozen=True, kw_only=True)
class Hutchinson(Regularizer):
    """|J'v|^2 / D for random signs v: an unbiased estimate of |J|_F^2 / D.

    It costs an evaluation of f and two to three walks over its tape, one of them recorded. It needs
    second derivatives of f.

    Attributes:
        probes: The vectors v of a sample; their mean is taken.

    Example:
        >>> import torch
        >>> w = torch.tensor([[0.5, 0.0], [0.0, -0.5]], requires_grad=True)
        >>> Hutchinson(weight=2.0)(lambda z: z @ w.T, torch.ones(3, 2))
        tensor(0.5000, grad_fn=<MulBackward0>)
    """

    probes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("probes", self.probes)

    @override
    def penalties(
        self,
        f: FlatMap,
        z: Float[Tensor, "B D"],
        args: tuple[object, ...],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " B"]:
        at = Linearized(f, z, args, type(self).__name__)
        total = torch.zeros_like(z[:, 0])
        for _ in range(self.probes):
            total = total + at.product(signs(z, generator)).square().mean(dim=1)
        return total / self.probes


@dataclass(frozen=True, kw_only=True)
class FiniteDifferences(Regularizer):
    """|f(z + h v) - f(z)|^2 / (h^2 D) for random signs v: |J|_F^2 / D, but for O(h).

    It costs 1 + probes evaluations of f, and one walk over their tapes.

    Attributes:
        probes: The vectors v of a sample; their mean is taken.
        relative_step: h over the root mean square of z*, of each sample. None is the cube root of
            the rounding of f: 6e-6 in float64, 5e-3 in float32, .2 in bfloat16.
    """

    probes: int = 1
    relative_step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("probes", self.probes)
        if self.relative_step is not None:
            check_positive("relative_step", self.relative_step)

    @override
    def penalties(
        self,
        f: FlatMap,
        z: Float[Tensor, "B D"],
        args: tuple[object, ...],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " B"]:
        share = self.relative_step
        if share is None:
            share = torch.finfo(f.lowered or z.dtype).eps ** (1 / 3)
        h = share * sizes(z)
        total, image = torch.zeros_like(z[:, 0]), f(z, *args)
        for _ in range(self.probes):
            change = (f(z + h * signs(z, generator), *args) - image) / h
            total = total + change.square().mean(dim=1)
        return total / self.probes
