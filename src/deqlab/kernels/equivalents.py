"""The kernel that a DEQ, or an explicit network, has in high dimension.

    Gbar = a1 X'X + V C V' + (gamma2 - tau0^2 a1) I,     V = [J / sqrt(p), psi],
    C    = [[a2 t t' + a3 T, a2 t], [a2 t', a2]]

and Kbar with the betas and kappa2 in place of the alphas and gamma2 (see `coefficients`; for J,
psi, t and T see `mixture`). |G - Gbar| tends to 0 in spectral norm as n and p grow together.
Published: Ling et al. (2024, arXiv:2402.02697), Theorems 3.2 and 3.4 (numbering not looked up
again).

Both are of low rank plus a multiple of the identity, so that the spectrum of n samples costs
O(n p^2), and no n x n matrix is formed (derived for this library).
"""

import torch

from deqlab.kernels.coefficients import Coefficients
from deqlab.kernels.data import Data, as_data
from deqlab.kernels.explicit import ExplicitKernel
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import Kind, Trained, check_kind
from deqlab.kernels.labels import Labels
from deqlab.kernels.lowrank import LowRankPlusIdentity
from deqlab.kernels.mixture import ClassStatistics, GaussianMixture


def equivalent(
    kernel: ImplicitKernel | ExplicitKernel | Coefficients,
    x: Data,
    classes: Labels | GaussianMixture,
    *,
    kind: Kind = "conjugate",
    trained: Trained | None = None,
) -> LowRankPlusIdentity:
    """Return the high-dimensional equivalent of a kernel on data.

    Args:
        kernel: Whose; or its coefficients, for another tau0.
        x: Data, one sample a row.
        classes: The labels, (n,), integers or strings, from which means and covariances are
            estimated; or the mixture that x was drawn from.
        kind: The CK or the NTK.
        trained: Which weights of a DEQ train; its NTK needs it.

    Raises:
        ValueError: The data are not finite, or the labels do not fit.
    """
    check_kind(kind)
    x = as_data(x)
    if isinstance(classes, GaussianMixture):
        statistics = ClassStatistics.known(x, classes)
    else:
        statistics = ClassStatistics.estimated(x, classes)
    if isinstance(kernel, ImplicitKernel):
        kernel = kernel.coefficients(statistics.tau0, trained=trained)
    elif isinstance(kernel, ExplicitKernel):
        kernel = kernel.coefficients(statistics.tau0)
    weights = kernel.conjugate if kind == "conjugate" else kernel.tangent
    first, second, third, shift = weights
    t = statistics.t[:, None]
    core = torch.block_diag(
        first * torch.eye(x.shape[1], dtype=x.dtype),
        torch.cat(
            [
                torch.cat([second * t @ t.T + third * statistics.products, second * t], dim=1),
                torch.cat([second * t.T, torch.full((1, 1), second, dtype=x.dtype)], dim=1),
            ]
        ),
    )
    v = torch.cat([statistics.indicators / x.shape[1] ** 0.5, statistics.psi[:, None]], dim=1)
    return LowRankPlusIdentity((x, v), core, shift)
