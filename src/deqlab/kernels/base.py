"""What every kernel of a network of infinite width has: its matrix on data, and its centring."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.kernels.data import Data, as_data, norm_of
from deqlab.kernels.kinds import Kind, Trained
from deqlab.kernels.pairs import PairFunction, gram


class Kernel(ABC):
    """CK and NTK of a network at initialisation, as functions of pairs of samples."""

    centred: bool

    def conjugate(
        self,
        x: Data,
        y: Data | None = None,
        *,
        tau0: float | None = None,
        progress: bool = False,
    ) -> Float[Tensor, "n m"]:
        """Return the CK of all pairs of rows.

        Args:
            x: Data, (n, p), one sample a row.
            y: Other data, (m, p); None for x.
            tau0: Fixes the centring; None for the root mean square norm of x.
            progress: Show a progress bar.

        Raises:
            ValueError: The data are not finite, or a DEQ has no stable fixed point there.
            ConvergenceError: The fixed point of a DEQ was not found.
        """
        return self._gram(x, y, tau0, progress, "conjugate")

    @abstractmethod
    def _pairs(
        self, squares: Float[Tensor, " n"], tau0: float, kind: Kind, trained: Trained | None
    ) -> PairFunction:
        """Return the kernel of pairs, for data of these squared norms."""

    def _gram(
        self,
        x: Data,
        y: Data | None,
        tau0: float | None,
        progress: bool,
        kind: Kind,
        trained: Trained | None = None,
    ) -> Float[Tensor, "n m"]:
        x = as_data(x)
        y = None if y is None else as_data(y, name="y", width=x.shape[1])
        squares = torch.cat([(part * part).sum(dim=1) for part in (x, y) if part is not None])
        function = self._pairs(squares, norm_of(x, tau0), kind, trained)
        return gram(function, x, y, progress=progress)

    def _check_centred(self) -> None:
        """Raise ValueError where the equivalents in high dimension do not hold."""
        if not self.centred:
            raise ValueError(
                "the high-dimensional equivalents hold for centred activations only; take "
                "centred=True (without it their error does not fall with the dimension)"
            )
