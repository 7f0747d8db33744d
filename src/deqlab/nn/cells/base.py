"""What a cell is: the map f(z, x) whose fixed point a DEQ computes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, cast

from torch import nn

from deqlab.nn.knob import Knob
from deqlab.nn.leading import flattened
from deqlab.solution import StateT
from deqlab.stability.certificate import Certificate


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that is constant in z during one solve.

    Each of the two is a tensor, or tensors in tuples, lists and dicts, as the cell likes it.

    Attributes:
        shared: What all samples have in common: weights after their constraints.
        rows: What has one row for each sample: the injected input, a mask. Finished samples can
            leave a batch only if all that belongs to them stands here. None where the cell does
            not say; then they stay.
    """

    shared: Any = ()
    rows: Any = None


class Cell(nn.Module, ABC, Generic[StateT]):
    """A map f(z, *inputs) = update(z, shared, rows) that knows where to start.

    `prepare` is called once a solve, and `update` at every evaluation. Its type names that of its
    state: `Cell[Tensor]`, `Cell[tuple[Tensor, ...]]`.

    Attributes:
        sample_dims: The number of dimensions of one sample of the first input. Any number of
            others may stand in front of them, and in front of each sample of the state: `prepare`
            then sees one. None: the first dimension of the input is the batch.
    """

    sample_dims: int | None = None

    if TYPE_CHECKING:

        def __call__(
            self,
            z: StateT,
            *inputs: Any,  # noqa: ANN401
            **keywords: Any,  # noqa: ANN401
        ) -> StateT:
            """See `forward`."""

    @abstractmethod
    def initial(self, *inputs: Any, **keywords: Any) -> StateT:  # noqa: ANN401
        """Return the z0 of a solve at these inputs."""

    @abstractmethod
    def prepare(self, *inputs: Any, **keywords: Any) -> Prepared:  # noqa: ANN401
        """Return all of f(z, *inputs) that is constant in z."""

    @abstractmethod
    def update(self, z: StateT, shared: Any, rows: Any) -> StateT:  # noqa: ANN401
        """Return f(z, *inputs), given what `prepare` returned for these inputs."""

    @property
    def knob(self) -> Knob | None:
        """What scales the feedback of z into f, for a controller to set; None if nothing does."""
        return None

    def certificate(self) -> Certificate:
        """Return what is proved of f at the present weights."""
        return Certificate.unknown(f"no theorem is known to apply to {type(self).__name__}")

    def forward(
        self,
        z: StateT,
        *inputs: Any,  # noqa: ANN401
        **keywords: Any,  # noqa: ANN401
    ) -> StateT:
        """Return f(z, *inputs)."""
        if self.sample_dims is None:
            prepared = self.prepare(*inputs, **keywords)
            return self.update(z, prepared.shared, prepared.rows)
        leading, inputs, keywords = flattened(self.sample_dims, inputs, keywords)
        prepared = self.prepare(*inputs, **keywords)
        image = self.update(leading.flatten_state(z), prepared.shared, prepared.rows)
        return cast("StateT", leading.restore(image))
