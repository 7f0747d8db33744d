"""The six arms of `matched-networks`: a DEQ, the explicit network matched to it, and a plain one.

Matched: the layers of `kernels.match_explicit`, whose kernel is the DEQ's in high dimension.
Plain: as many layers, of the same width, with the DEQ's own activation.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

from deqlab.activations.base import Activation
from deqlab.activations.ramps import ReLU
from deqlab.activations.smooth import Tanh
from deqlab.kernels.explicit import ExplicitKernel
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.matching import match_explicit

Kernel: TypeAlias = ImplicitKernel | ExplicitKernel
Role: TypeAlias = Literal["deq", "matched", "plain"]

TAU0 = 1.0
"""The root mean square norm of the inputs, which `inputs` sees to."""

ACTIVATIONS: dict[str, Activation] = {"ReLU": ReLU(), "tanh": Tanh()}
"""The activation of the DEQ of each family."""


@dataclass(frozen=True)
class Arm:
    """A network that competes.

    Attributes:
        family: Its family, a key of ACTIVATIONS.
        role: What it is in its family.
        label: What people call it.
        matching: What it has in common with the DEQ; None for the DEQ.
    """

    family: str
    role: Role
    label: str
    matching: str | None = None

    @property
    def deq(self) -> str:
        """The arm that it is compared with."""
        return f"{self.family.lower()}-deq"

    @cache  # noqa: B019, there are six of them
    def kernel(self, sigma_a2: float) -> Kernel:
        """Return its kernel, for a DEQ with this variance of the recurrent weights.

        Raises:
            NoMatchError: No explicit network matches that DEQ.
            ValueError: The DEQ is not stable.
        """
        phi = ACTIVATIONS[self.family]
        deq = ImplicitKernel(activation=phi, sigma_a2=sigma_a2)
        if self.role == "deq":
            return deq
        matched = match_explicit(deq, TAU0)
        return matched if self.role == "matched" else ExplicitKernel([phi] * len(matched.layers))


ARMS = {
    "relu-deq": Arm("ReLU", "deq", "ReLU-DEQ"),
    "relu-matched": Arm("ReLU", "matched", "L-ReLU, matched", "width and kernel"),
    "relu-plain": Arm("ReLU", "plain", "ReLU, plain", "width"),
    "tanh-deq": Arm("tanh", "deq", "Tanh-DEQ"),
    "tanh-matched": Arm("tanh", "matched", "H-Tanh, matched", "width and kernel"),
    "tanh-plain": Arm("tanh", "plain", "tanh, plain", "width"),
}
