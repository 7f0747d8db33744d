"""z = sigma(W z + q) as a map that shows its parts, for methods that split it.

With sigma the proximal operator of phi (see `proximal`), its fixed points are the zeros of a sum of
two monotone operators if I - W is one:

    0 in (I - W) z - q + d phi(z).

If I - W >= m I with m > 0 there is exactly one, however large W is. Source: Winston & Kolter
(2020), "Monotone operator equilibrium networks".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from deqlab.solvers.linear_operator import DENSE, LinearOperator
from deqlab.solvers.proximal import Proximal


@dataclass(frozen=True)
class MonotoneMap:
    """f(z, w, q) = sigma(W z + q), where `operator` says what W is for the weights w.

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
        activation: sigma. Of a state that is a tuple it acts on each tensor.
        operator: How w stands for W; with the default w is W itself, (D, D).
    """

    activation: Proximal
    operator: LinearOperator = DENSE

    def __call__(self, z: Any, w: Any, q: Any) -> Any:  # noqa: ANN401
        """Return the map at z; w is shared by the rows, each has its q."""
        return each(self.activation, self.operator.affine(w, z, q))

    def weights(self, w: Any, q: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Return the weights of W, and what is added to W z, of the args of the map."""
        return w, q

    def prox(self, u: Any, alpha: float) -> Any:  # noqa: ANN401
        """Return the proximal operator of alpha phi."""
        return each(lambda part: self.activation.prox(part, alpha), u)

    def derivative(self, u: Any) -> Any:  # noqa: ANN401
        """Return the diagonal of the derivative of sigma at u."""
        return each(self.activation.derivative, u)


def each(function: Callable[[Tensor], Tensor], state: Any) -> Any:  # noqa: ANN401
    """Return the function of a tensor, or of each tensor of a tuple."""
    return function(state) if isinstance(state, Tensor) else tuple(map(function, state))
