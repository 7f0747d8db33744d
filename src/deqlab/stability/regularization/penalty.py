"""A regulariser applied to every DEQ of a model, as one line of a training loop.

    penalty = Penalty(model, FiniteDifferences(weight=0.1))
    for step, (x, y) in enumerate(batches):
        loss = criterion(model(x), y) + penalty(step=step)

Each DEQ is watched by a forward hook: what it was called with and what it returned are all that a
regulariser asks for. They are held until the penalty is taken, or the model is called again.
"""

from types import TracebackType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.stability.regularization.base import Regularizer


class Call(NamedTuple):
    """One call of a DEQ."""

    layer: nn.Module
    value: Any
    inputs: tuple[Any, ...]
    keywords: dict[str, Any]


class Penalty:
    """The sum of a regulariser over all solves of the last call of a model.

    Calls without a tape (under `torch.no_grad`) are not watched. A solve by `deq.solve(x)` is not
    seen, for it calls no module: give its value to the regulariser itself.

    Args:
        model: A model that contains DEQs, or one; it may be wrapped (DDP, DataParallel) before or
            after.
        regularizer: The regulariser.

    Attributes:
        calls: The calls that were seen since the last penalty.

    Example:
        >>> import torch
        >>> from deqlab import DEQ
        >>> from deqlab.nn import DenseCell
        >>> from deqlab.stability import Hutchinson
        >>> model = nn.Sequential(DEQ(DenseCell(3, 8)), nn.Linear(8, 1))
        >>> penalty = Penalty(model, Hutchinson(weight=0.1))
        >>> loss = model(torch.randn(4, 3)).square().mean() + penalty()
        >>> loss.backward()

    Raises:
        ValueError: The model contains no DEQ.
    """

    def __init__(self, model: nn.Module, regularizer: Regularizer) -> None:
        layers = [m for m in model.modules() if callable(getattr(type(m), "equation", None))]
        if not layers:
            raise ValueError(f"{type(model).__name__} contains no DEQ whose Jacobian to penalise")
        self.regularizer = regularizer
        self.calls: list[Call] = []
        self._handles = [model.register_forward_pre_hook(self._forget)]
        for layer in layers:
            self._handles.append(layer.register_forward_hook(self._watch, with_kwargs=True))

    def __call__(
        self, *, step: int = 0, generator: torch.Generator | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty, to be added to the loss of the same call of the model.

        Args:
            step: The number of the training step, for the schedule.
            generator: Source of the random numbers; None is torch's global one.

        Raises:
            RuntimeError: No DEQ was called since the last penalty.
        """
        calls, self.calls = self.calls, []
        if not calls:
            raise RuntimeError(
                "a penalty was asked for, and no DEQ of the model was called with a tape on since "
                "the last one: call the model first (deq.solve is not seen)"
            )
        penalties = [
            self.regularizer(
                call.layer,
                call.value,
                *call.inputs,
                step=step,
                generator=generator,
                **call.keywords,
            )
            for call in calls
        ]
        return torch.stack(penalties).sum()

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self.calls.clear()

    def __enter__(self) -> "Penalty":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def _forget(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.calls.clear()

    def _watch(
        self,
        layer: nn.Module,
        inputs: tuple[Any, ...],
        keywords: dict[str, Any],
        value: Any,  # noqa: ANN401, a state of any structure
    ) -> None:
        if torch.is_grad_enabled():
            rest = {name: given for name, given in keywords.items() if name != "z0"}
            self.calls.append(Call(layer, value, inputs, rest))

    def __getstate__(self) -> dict[str, Any]:
        # A model is saved or copied with its hooks, and not with a batch.
        return self.__dict__ | {"calls": []}
