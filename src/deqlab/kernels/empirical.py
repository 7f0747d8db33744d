"""CK and NTK of finite networks, averaged over draws of their weights.

The CK is the matrix of inner products of features. The NTK of f = v'h is that of its gradients by
the weights. With d_i = df/du_i, the gradient of sample i by a layer's pre-activations u = W h, the
gradient by W is the outer product d_i h_i', so that a layer adds

    (d_i . d_j) (h_i . h_j)

and the readout h_i . h_j. The d of a DEQ come from one implicit adjoint solve for all samples:
layer and input weights act through the same pre-activation.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.gradients.implicit import Implicit
from deqlab.kernels.data import Data, as_data, norm_of
from deqlab.kernels.explicit import ExplicitKernel
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import Trained, check_trained
from deqlab.kernels.network import ExplicitNetwork, ImplicitNetwork
from deqlab.solvers.anderson import Anderson

SOLVER = Anderson(rtol=1e-10, max_steps=500)


@dataclass(frozen=True)
class Estimate:
    """The mean over draws of a random kernel.

    Attributes:
        mean: (n, n).
        standard_error: The standard error of each entry; nan for one draw.
        draws: How many.
    """

    mean: Float[Tensor, "n n"]
    standard_error: Float[Tensor, "n n"]
    draws: int


def empirical_conjugate(
    kernel: ImplicitKernel | ExplicitKernel,
    x: Data,
    *,
    width: int,
    draws: int = 1,
    generator: torch.Generator,
    tau0: float | None = None,
    progress: bool = False,
) -> Estimate:
    """Return the CK of networks of a finite width.

    Args:
        kernel: The kernel of the infinite network.
        x: Data, one sample a row.
        width: At least 1.
        draws: The number of draws of the weights, at least 1.
        generator: Draws them.
        tau0: Fixes the centring; None for the root mean square norm of x.
        progress: Show a progress bar.
    """
    x = as_data(x)

    def draw() -> Tensor:
        with torch.no_grad():
            h = _network(kernel, x, width, norm_of(x, tau0), generator).features(x)
        return h @ h.T

    return _averaged(draw, draws, progress)


def empirical_tangent(
    kernel: ImplicitKernel | ExplicitKernel,
    x: Data,
    *,
    width: int,
    draws: int = 1,
    generator: torch.Generator,
    trained: Trained | None = None,
    tau0: float | None = None,
    progress: bool = False,
) -> Estimate:
    """Return the NTK of networks of a finite width; arguments as in `empirical_conjugate`.

    Args:
        kernel: The kernel of the infinite network.
        x: Data, one sample a row.
        width: At least 1.
        draws: The number of draws of the weights, at least 1.
        generator: Draws them.
        trained: Which weights of a DEQ the gradients are taken by; it has no default.
        tau0: Fixes the centring; None for the root mean square norm of x.
        progress: Show a progress bar.
    """
    if isinstance(kernel, ImplicitKernel):
        check_trained(trained)
    x = as_data(x)

    def draw() -> Tensor:
        network = _network(kernel, x, width, norm_of(x, tau0), generator)
        v = torch.randn(width, generator=generator, dtype=x.dtype)
        if isinstance(network, ImplicitNetwork):
            assert isinstance(kernel, ImplicitKernel)
            inner = kernel.input_variance if trained == "all" else 0.0
            return _implicit_tangent(network, x, v, kernel.sigma_a2, inner)
        assert isinstance(kernel, ExplicitKernel)
        return _explicit_tangent(network, x, v, kernel.etas)

    return _averaged(draw, draws, progress)


def _network(
    kernel: ImplicitKernel | ExplicitKernel,
    x: Tensor,
    width: int,
    tau0: float,
    generator: torch.Generator,
) -> ImplicitNetwork | ExplicitNetwork:
    network = kernel.network(x.shape[1], width, tau0=tau0, generator=generator, dtype=x.dtype)
    if isinstance(network, ImplicitNetwork):
        network.solver, network.on_failure = SOLVER, "raise"
        network.gradient = Implicit()
    return network


def _implicit_tangent(
    network: ImplicitNetwork, x: Tensor, v: Tensor, sigma_a2: float, inner: float
) -> Tensor:
    shift = torch.zeros(len(x), len(v), dtype=x.dtype, requires_grad=True)
    z = network.features(x, shift)
    (d,) = torch.autograd.grad((z @ v).sum(), shift)
    z = z.detach()
    return z @ z.T + (d @ d.T) * (sigma_a2 * (z @ z.T) + inner * (x @ x.T))


def _explicit_tangent(
    network: ExplicitNetwork, x: Tensor, v: Tensor, etas: Iterable[float]
) -> Tensor:
    inputs: list[Tensor] = []
    preactivations: list[Tensor] = []
    h = x
    for phi, weight in zip(network.activations, network.weights, strict=True):
        inputs.append(h.detach())
        u = h @ weight.T
        u = u.requires_grad_() if not preactivations else u
        preactivations.append(u)
        h = phi(u) / len(weight) ** 0.5
    slopes = torch.autograd.grad((h @ v).sum(), preactivations)
    h = h.detach()
    *inner, outer = etas
    total = outer * (h @ h.T)
    for eta, d, before in zip(inner, slopes, inputs, strict=True):
        total = total + eta * (d @ d.T) * (before @ before.T)
    return total


def _averaged(draw: Callable[[], Tensor], draws: int, progress: bool) -> Estimate:
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    rounds: Iterable[int] = range(draws)
    if progress:
        from rich.progress import track

        rounds = track(rounds, description="draws", total=draws, transient=True)
    mean = squares = torch.zeros(())
    for i in rounds:  # Welford's recurrence
        sample = draw()
        before = mean
        mean = mean + (sample - mean) / (i + 1)
        squares = squares + (sample - before) * (sample - mean)
    variance = squares / (draws - 1) if draws > 1 else torch.full_like(mean, torch.nan)
    return Estimate(mean, (variance / draws).sqrt(), draws)
