"""Inputs as the kernels of wide networks want them: centred, of unit mean square norm.

    x  ->  (x - mean) / sqrt(mean |x - mean|^2),

with both means over the training set, and applied to the test set too; so tau_0 = 1 (Ling et al.
2024, arXiv:2402.02697, experiments).
"""

from jaxtyping import Float, Float64
from torch import Tensor


def centred_and_scaled(
    train: Float[Tensor, "n p"], test: Float[Tensor, "m p"]
) -> tuple[Float64[Tensor, "n p"], Float64[Tensor, "m p"]]:
    """Return training and test inputs, centred and scaled by the training set.

    Raises:
        ValueError: All training inputs are the same.
    """
    train, test = train.double(), test.double()
    mean = train.mean(dim=0)
    train, test = train - mean, test - mean
    size = float((train * train).sum(dim=1).mean().sqrt())
    if size == 0:
        raise ValueError("all training inputs are the same: nothing is left of them when centred")
    return train / size, test / size
