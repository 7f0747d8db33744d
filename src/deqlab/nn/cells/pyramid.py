"""The resolutions of a multiscale state: each map has half the height and width of the last."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from deqlab.nn.cells.operator_norm import check_size


@dataclass(frozen=True)
class Pyramid:
    """How many resolutions there are, and how large they may be.

    Attributes:
        num_maps: Resolutions.
        size: The height and the width of the finest map at most; None if any will do.
    """

    num_maps: int
    size: tuple[int, int] | None

    @classmethod
    def of(cls, num_maps: int, size: Sequence[int] | None) -> "Pyramid":
        """Return the pyramid below maps of a size.

        Raises:
            TypeError: The size is no sequence of whole numbers.
            ValueError: It is not two of at least 1, or cannot be halved as often.
        """
        if size is None:
            return cls(num_maps, None)
        check_size(size)
        pyramid = cls(num_maps, (size[0], size[1]))
        if size[0] % pyramid.factor or size[1] % pyramid.factor:
            raise ValueError(
                f"size must have multiples of {pyramid.factor} for {num_maps} resolutions, got "
                f"{tuple(size)}"
            )
        return pyramid

    @property
    def factor(self) -> int:
        """What divides the height and the width of the finest map."""
        return int(2 ** (self.num_maps - 1))

    @property
    def sizes(self) -> list[tuple[int, int]] | None:
        """The largest size of each map; None if any will do."""
        if self.size is None:
            return None
        return [(self.size[0] >> i, self.size[1] >> i) for i in range(self.num_maps)]

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless x is a batch of maps that can be halved, and is not too large."""
        shape = tuple(x.shape)
        if x.ndim != 4 or shape[2] % self.factor or shape[3] % self.factor:
            raise ValueError(
                f"{self.num_maps} resolutions need x of shape (B, channels, height, width) "
                f"with height and width multiples of {self.factor}, got {shape}"
            )
        if self.size is not None and (shape[2] > self.size[0] or shape[3] > self.size[1]):
            raise ValueError(
                f"operator norms were taken at size = {self.size}, and bound nothing at a larger "
                f"one, got x of shape {shape}"
            )

    def initial(self, x: Tensor, channels: Sequence[int]) -> tuple[Tensor, ...]:
        """Return zeros for each map, the finest of the size of x."""
        self.check(x)
        batch, _, height, width = x.shape
        return tuple(x.new_zeros(batch, c, height >> i, width >> i) for i, c in enumerate(channels))
