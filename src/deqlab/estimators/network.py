"""A network of raw features: it standardises them, and gives answers in the units of the target."""

from jaxtyping import Float
from numpy import asarray, float64
from numpy.typing import ArrayLike
from sklearn.preprocessing import StandardScaler
from torch import Tensor, from_numpy, nn
from typing_extensions import override


class Standardised(nn.Module):
    """body((x - mean) / scale), and of a regression unit * body(...) + offset as a number a row.

    What it needs to know of the data are buffers, so that the module can be saved, moved and
    exported without the estimator that trained it. Everything is float64.

    Args:
        body: The network of standardised features, (B, n) to (B, m).
        x: The features that it will be trained on, (N, n): whence mean and scale. The scale of a
            constant is 1.
        target: The targets of a regression, (N,), whence unit and offset; None for classes, whose
            scores stay as they are.
    """

    def __init__(self, body: nn.Module, x: ArrayLike, target: ArrayLike | None = None) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.body = body.double()
        self.mean, self.scale = _statistics(x)
        self.offset: Tensor | None = None
        self.unit: Tensor | None = None
        if target is not None:
            self.offset, self.unit = (each[0] for each in _statistics(asarray(target)[:, None]))

    @override
    def forward(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B ..."]:
        scores: Tensor = self.body(self.standardised(x))
        if self.unit is None or self.offset is None:
            return scores
        return self.offset + self.unit * scores[:, 0]

    def standardised(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Return the features as the body takes them."""
        return (x - self.mean) / self.scale


def _statistics(x: ArrayLike) -> tuple[nn.Buffer, nn.Buffer]:
    scaler = StandardScaler().fit(asarray(x, dtype=float64))
    return nn.Buffer(from_numpy(scaler.mean_)), nn.Buffer(from_numpy(scaler.scale_))
