"""Gaussian mixtures in high dimension, and what the equivalents need to know of data.

    x_i = mu_a / sqrt(p) + C_a^(1/2) w / sqrt(p),    w ~ N(0, I),    sample i of class a

so that |x_i|^2 stays of order 1 as the dimension p grows. Source: Ling et al. (2024,
arXiv:2402.02697), section 2.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.kernels.data import Data, as_tensor
from deqlab.kernels.labels import Labels, as_classes, as_numbers


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """K classes in p dimensions.

    Numbers may come in any array; they are kept as tensors, float64 and int64.

    Attributes:
        means: mu_a, (K, p).
        covariances: C_a: (K,) multiples of the identity, (K, p) diagonals, or (K, p, p).
        labels: The class of each sample, (n,), from 0.
    """

    means: Data
    covariances: Data
    labels: Labels

    def __post_init__(self) -> None:
        for name in ("means", "covariances"):
            object.__setattr__(self, name, as_tensor(getattr(self, name), name))
        object.__setattr__(self, "labels", as_numbers(self.labels))
        means, covariances = self.means, self.covariances
        if means.ndim != 2 or 0 in means.shape:
            raise ValueError(f"means must be (classes, p), got shape {tuple(means.shape)}")
        classes, p = means.shape
        if tuple(covariances.shape) not in ((classes,), (classes, p), (classes, p, p)):
            raise ValueError(
                f"covariances must be ({classes},), ({classes}, {p}) or ({classes}, {p}, {p}) for "
                f"these means, got shape {tuple(covariances.shape)}"
            )
        for name in ("means", "covariances"):
            if not bool(getattr(self, name).isfinite().all()):
                raise ValueError(f"{name} must be finite")
        if int(self.labels.max()) >= classes:
            raise ValueError(
                f"labels go up to {int(self.labels.max())}, but there are {classes} means"
            )
        if covariances.ndim < 3 and bool((covariances < 0).any()):
            raise ValueError("covariances must not be negative")

    def sample(self, generator: torch.Generator) -> Float[Tensor, "n p"]:
        """Return one draw of the data, a row for each label.

        Raises:
            ValueError: A covariance is not positive semi-definite.
        """
        p = self.means.shape[1]
        noise = torch.randn(len(self.labels), p, generator=generator, dtype=torch.float64)
        for a, covariance in enumerate(self.covariances):
            rows = self.labels == a
            if covariance.ndim < 2:
                noise[rows] *= covariance.sqrt()
                continue
            values, vectors = torch.linalg.eigh(covariance)
            if bool(values[0] < -1e-10 * values[-1].abs()):
                raise ValueError(f"covariance {a} has a negative eigenvalue, {float(values[0]):g}")
            noise[rows] = noise[rows] @ (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        data: Tensor = (self.means[self.labels] + noise) / p**0.5
        return data

    def trace(self, a: int) -> float:
        """Return tr C_a / p."""
        covariance = self.covariances[a]
        return float((covariance.diagonal() if covariance.ndim == 2 else covariance).mean())

    def product_trace(self, a: int, b: int) -> float:
        """Return tr(C_a C_b) / p."""
        return float((self.covariances[a] * self.covariances[b]).sum()) / (
            self.means.shape[1] if self.covariances.ndim > 1 else 1
        )


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """What the equivalents need to know of data beside X'X.

    Attributes:
        tau0: The root mean square norm of the samples.
        indicators: J, (n, K).
        psi: |x_i - mu_a / sqrt(p)|^2 - tr C_a / p, (n,).
        t: tr(C_a - C_0) / sqrt(p), (K,), where C_0 is the mean of the C_a over the samples.
        products: T, tr(C_a C_b) / p, (K, K).
    """

    tau0: float
    indicators: Float[Tensor, "n K"]
    psi: Float[Tensor, " n"]
    t: Float[Tensor, " K"]
    products: Float[Tensor, "K K"]

    @classmethod
    def known(cls, x: Float[Tensor, "n p"], mixture: GaussianMixture) -> "ClassStatistics":
        """Take means and covariances from the mixture that x was drawn from."""
        n, p = x.shape
        if (n, p) != (len(mixture.labels), mixture.means.shape[1]):
            raise ValueError(
                f"x of shape {(n, p)} is no draw of this mixture of "
                f"{len(mixture.labels)} samples in {mixture.means.shape[1]} dimensions"
            )
        classes = range(len(mixture.means))
        traces = torch.tensor([mixture.trace(a) for a in classes], dtype=torch.float64)
        products = [[mixture.product_trace(a, b) for b in classes] for a in classes]
        centred = x - mixture.means[mixture.labels] / p**0.5
        return cls._of(
            x, centred, mixture.labels, traces, torch.tensor(products, dtype=torch.float64)
        )

    @classmethod
    def estimated(cls, x: Float[Tensor, "n p"], labels: Labels) -> "ClassStatistics":
        """Estimate means and covariances from the samples of each class.

        The plain estimate of tr(C_a^2) / p is too large by (tr C_a)^2 / (n_a p), which in high
        dimension does not vanish. It is corrected; source: Bai & Saranadasa (1996), "Effect of
        high dimension: by an example of a two sample problem", Statistica Sinica 6, eq. (3.4).

        Raises:
            ValueError: The labels do not fit, or a class has fewer than three samples.
        """
        names, classes = as_classes(labels, len(x))
        counts = classes.bincount()
        for name, count in zip(names, counts.tolist(), strict=True):
            if count < 3:
                raise ValueError(
                    f"class {name} has {count} sample{'s' if count > 1 else ''}; three are needed "
                    "to estimate its covariance: leave it out, or pass a GaussianMixture"
                )
        p, centred, covariances = x.shape[1], x.clone(), []
        for a, count in enumerate(counts.tolist()):
            rows = classes == a
            part = x[rows] - x[rows].mean(dim=0)
            centred[rows] = part
            covariances.append(part.T @ part / (count - 1))
        traces = torch.stack([covariance.trace() for covariance in covariances])
        products = p * torch.stack(
            [torch.stack([(c * d).sum() for d in covariances]) for c in covariances]
        )
        free = (counts - 1).to(x.dtype)
        own = free**2 / ((free - 1) * (free + 2)) * (products.diagonal() - p * traces**2 / free)
        products.diagonal().copy_(own.clamp(min=0))
        return cls._of(x, centred, classes, traces, products)

    @classmethod
    def _of(
        cls, x: Tensor, centred: Tensor, labels: Tensor, traces: Tensor, products: Tensor
    ) -> "ClassStatistics":
        indicators = torch.nn.functional.one_hot(labels, len(traces)).to(x.dtype)
        mean = indicators.mean(dim=0) @ traces
        return cls(
            tau0=float((x * x).sum(dim=1).mean().sqrt()),
            indicators=indicators,
            psi=(centred * centred).sum(dim=1) - traces[labels],
            t=x.shape[1] ** 0.5 * (traces - mean),
            products=products,
        )
