"""Filters of several convolutions whose norms in f are fixed: their free size does not matter.

Each is divided by a norm of its own: either every filter by its Euclidean norm (weight
normalisation, Salimans & Kingma 2016, at norm 1), which bounds no operator and knows no resolution;
or all filters of a convolution by its operator norm at a given resolution.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from deqlab.nn.cells.operator_norm import OperatorNorm

Shape: TypeAlias = tuple[int, int, int]
"""Outputs, inputs, and the size of a filter."""


class Filters(nn.ParameterList):
    """The free filters of several convolutions, Gaussian at first.

    Args:
        shapes: Of each convolution.
        sizes: The height and the width of the maps that each convolution takes, where operator
            norms are to be 1; None for filters of norm 1.
        stride: The stride of all of them.
    """

    def __init__(
        self,
        shapes: Iterable[Shape],
        sizes: Sequence[tuple[int, int]] | None = None,
        *,
        stride: int = 1,
    ) -> None:
        super().__init__(
            nn.Parameter(torch.randn(outputs, inputs, size, size) / (inputs * size**2) ** 0.5)
            for outputs, inputs, size in shapes
        )
        self.norms: nn.ModuleList | None = None
        if sizes is not None:
            self.norms = nn.ModuleList(
                OperatorNorm(w, size, stride=stride) for w, size in zip(self, sizes, strict=True)
            )

    def normalised(self) -> list[Tensor]:
        """Return the filters at norm 1; zero ones stay zero."""
        if self.norms is None:
            return [_unit(w) for w in self]
        return [
            cast(OperatorNorm, norm).normalised(w) for norm, w in zip(self.norms, self, strict=True)
        ]


def _unit(filters: Tensor) -> Tensor:
    """Filters of norm 1, one for each output; a zero one stays zero."""
    norms = torch.linalg.vector_norm(filters, dim=(1, 2, 3), keepdim=True)
    unit: Tensor = filters / norms.clamp_min(torch.finfo(filters.dtype).tiny)
    return unit
