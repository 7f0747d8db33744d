"""z = sigma(W z + q) as a map that shows its parts, for methods that split it.

With sigma the proximal operator of phi (see `proximal`), its fixed points are the zeros of a sum of
two monotone operators if I - W is one:

    0 in (I - W) z - q + d phi(z).

If I - W >= m I with m > 0 there is exactly one, however large W is. Source: Winston & Kolter
(2020), "Monotone operator equilibrium networks".
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.solvers.loop.evaluation import CountedMap
from deqlab.solvers.proximal import Proximal


@dataclass(frozen=True)
class MonotoneMap:
    """f(z, W, q) = sigma(z W' + q).

    Example:
        >>> import torch
        >>> from deqlab import fixed_point
        >>> from deqlab.solvers.proximal import Relu
        >>> from deqlab.solvers.splitting import PeacemanRachford
        >>> w, q = torch.tensor([[-8.0]]), torch.tensor([[9.0], [-9.0]])
        >>> solver = PeacemanRachford()
        >>> fixed_point(MonotoneMap(Relu()), torch.zeros(2, 1), w, q, solver=solver).value.round()
        tensor([[1.],
                [0.]])

    Attributes:
        activation: sigma.
    """

    activation: Proximal

    def __call__(
        self, z: Float[Tensor, "B D"], w: Float[Tensor, "D D"], q: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return the map at z; W is shared by the rows, each has its q."""
        return self.activation(torch.addmm(q, z, w.mT))

    def prox(self, u: Float[Tensor, "B D"], alpha: float) -> Float[Tensor, "B D"]:
        """Return the proximal operator of alpha phi."""
        return self.activation.prox(u, alpha)


def parts(f: CountedMap, method: str, dtype: torch.dtype) -> tuple[MonotoneMap, Tensor, Tensor]:
    """Return the map, W and q, in the dtype of the state: autocast may have made q of another.

    Raises:
        TypeError: f is no `MonotoneMap` of one (B, D) tensor.
    """
    origin: object = getattr(f.f, "origin", f.f)
    args: tuple[Any, ...] = getattr(f.f, "args", ())
    if isinstance(origin, MonotoneMap) and len(args) == 2:
        return origin, args[0].to(dtype), args[1].to(dtype)
    what = getattr(origin, "__name__", type(origin).__name__)
    raise TypeError(
        f"{method} splits z = sigma(W z + q): pass a MonotoneMap and (W, q), or an "
        f"nn.MonotoneCell, with a state of shape (B, D), got {what}; Anderson() takes any map"
    )
