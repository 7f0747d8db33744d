"""The six arms of `matched-networks`: a DEQ, the explicit network matched to it, and a plain one.

Matched: the layers of `kernels.match_explicit`, whose kernel is the DEQ's in high dimension.
Plain: as many layers, of the same width, with the DEQ's own activation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

from deqlab.activations import Activation, ReLU, Tanh
from deqlab.kernels import ExplicitKernel, ImplicitKernel, match_explicit

Kernel: TypeAlias = ImplicitKernel | ExplicitKernel
Role: TypeAlias = Literal["deq", "matched", "plain"]

TAU0 = 1.0
"""The root mean square norm of the inputs, which `preprocessing` sees to."""

ACTIVATIONS: dict[str, Activation] = {"ReLU": ReLU(), "tanh": Tanh()}
"""The activation of the DEQ of each family."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A network that competes.

    Attributes:
        name: Its name, unique.
        family: Its family, a key of ACTIVATIONS.
        role: What it is in its family.
        label: What people call it.
    """

    name: str
    family: str
    role: Role
    label: str

    @property
    def matching(self) -> str | None:
        """What it has in common with the DEQ; None for the DEQ."""
        common: Mapping[Role, str] = {"matched": "width and kernel", "plain": "width"}
        return common.get(self.role)

    @property
    def deq(self) -> str:
        """The arm that it is compared with."""
        return f"{self.family.lower()}-deq"

    def kernel(self, sigma_a2: float) -> Kernel:
        """Return its kernel, for a DEQ with this variance of the recurrent weights.

        Raises:
            NoMatchError: No explicit network matches that DEQ.
            ValueError: The DEQ is not stable.
        """
        return _kernel(self.family, self.role, sigma_a2)


@cache
def _kernel(family: str, role: Role, sigma_a2: float) -> Kernel:
    phi = ACTIVATIONS[family]
    deq = ImplicitKernel(activation=phi, sigma_a2=sigma_a2)
    if role == "deq":
        return deq
    matched = match_explicit(deq, TAU0)
    return matched if role == "matched" else ExplicitKernel([phi] * len(matched.layers))


ARMS = {
    arm.name: arm
    for arm in (
        Arm(name="relu-deq", family="ReLU", role="deq", label="ReLU-DEQ"),
        Arm(name="relu-matched", family="ReLU", role="matched", label="L-ReLU, matched"),
        Arm(name="relu-plain", family="ReLU", role="plain", label="ReLU, plain"),
        Arm(name="tanh-deq", family="tanh", role="deq", label="Tanh-DEQ"),
        Arm(name="tanh-matched", family="tanh", role="matched", label="H-Tanh, matched"),
        Arm(name="tanh-plain", family="tanh", role="plain", label="tanh, plain"),
    )
}
