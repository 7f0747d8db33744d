"""Maps that return something beside the next state: f(z, *args) = (f(z), aux).

Solvers see the state alone. What f says beside it is worth having at the value only, where one more
evaluation fetches it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map_only

from deqlab.containers import State
from deqlab.state import share_memory


class WithAux:
    """The state that f returns; what it returns beside is kept on demand."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.keep, self.aux = f, False, None

    def __call__(self, z: State, *args: object) -> State:
        """Return the state.

        Raises:
            ValueError: f has not returned two things.
        """
        state, aux = state_and_aux(self.f(z, *args))
        if self.keep:
            self.aux = aux
        return state

    def at(self, evaluate: Callable[[], object]) -> Any:  # noqa: ANN401, whatever f returns
        """Return what f returns beside the state in the evaluation that `evaluate` makes."""
        self.keep = True
        evaluate()
        aux, self.aux, self.keep = self.aux, None, False
        return aux


def state_and_aux(returned: Any) -> tuple[State, Any]:  # noqa: ANN401, whatever f has returned
    """Return the two things that f with has_aux returns.

    Raises:
        ValueError: They are not two.
    """
    if isinstance(returned, tuple) and len(returned) == 2:
        return returned
    got = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else "one "
    got = got if isinstance(returned, tuple) else got + type(returned).__name__
    raise ValueError(f"has_aux: f must return a tuple of two, the state and the rest, got {got}")


def apart(aux: Any, others: Sequence[object]) -> Any:  # noqa: ANN401
    """Return `aux`, with copies of the tensors in it that share memory with others."""
    tensors = [other for other in others if isinstance(other, Tensor)]

    def own(tensor: Tensor) -> Tensor:
        shared = any(tensor is other or share_memory(tensor, other) for other in tensors)
        return tensor.clone() if shared else tensor

    return tree_map_only(Tensor, own, aux)
