"""Recurrent cells of torch at a constant input: the state that they settle in.

    h = GRU(x, gain h),    h = tanh(W x + gain V h + b),    (h, c) = LSTM(x, gain (h, c))

With W, V, b the rows of `weight_ih`, `weight_hh` and the biases of `torch.nn.GRUCell`,
`torch.nn.RNNCell` and `torch.nn.LSTMCell`, whose documentation has the formulas; W x + b is found
once a solve. The gain is the knob: 1 is the cell of torch, and at 0 f forgets its state. Sources:
Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder"; Hochreiter &
Schmidhuber (1997), "Long short-term memory".

A fixed point exists for all weights and every x (Brouwer). The state of a GRU is a convex
combination of values in (-1, 1) and of itself, so that f maps the cube [-1, 1]^width into itself.
In an LSTM h is in (-1, 1), so that at each x the forget gate stays below some F < 1, and f maps
|c| <= 1 / (1 - F) into itself. It may not be the only one: a GRU whose update gate is shut keeps
whatever state it has.
"""

from typing import TYPE_CHECKING, Any, cast, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.vectors import zeros
from deqlab.nn.knob import Knob
from deqlab.solution import StateT
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.fixed_point_theorems import maps_into_itself

Pair = tuple[Tensor, Tensor]
"""The state of an LSTM: what it shows, h, and what it remembers, c."""

Weights = tuple[Tensor, Tensor | None, Tensor]
"""V, the bias beside it if there is one, and the gain."""

KINDS = (nn.GRUCell, nn.RNNCell, nn.LSTMCell)


class RecurrentCell(Cell[StateT]):
    """f(z, x) = recurrent(x, gain z) for a recurrent cell of torch, with z its state.

    Shapes: x (..., input_size); z is h (..., hidden_size), or the tuple (h, c) of an `nn.LSTMCell`.
    A solve starts at zeros, as the cells of torch do.

    Args:
        recurrent: An `nn.GRUCell`, `nn.RNNCell` or `nn.LSTMCell`, trained or not.
    """

    sample_dims = 1

    recurrent: nn.RNNCellBase
    gain: Tensor

    if TYPE_CHECKING:

        @overload
        def __init__(self: "RecurrentCell[Tensor]", recurrent: nn.GRUCell | nn.RNNCell) -> None: ...

        @overload
        def __init__(self: "RecurrentCell[Pair]", recurrent: nn.LSTMCell) -> None: ...

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        if not isinstance(recurrent, nn.RNNCellBase) or not _is_of_torch(recurrent):
            raise TypeError(
                "recurrent must be an nn.GRUCell, nn.RNNCell or nn.LSTMCell with its own forward, "
                f"got {type(recurrent).__name__}; DEQ takes any other module as it is"
            )
        self.recurrent = recurrent
        self.register_buffer("gain", recurrent.weight_hh.detach().new_ones(()))

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=1.0)

    @override
    def initial(self, x: Float[Tensor, "*B n"]) -> StateT:
        h = zeros(x, self.recurrent.hidden_size)
        state = (h, torch.zeros_like(h)) if isinstance(self.recurrent, nn.LSTMCell) else h
        return cast("StateT", state)

    @override
    def prepare(self, x: Float[Tensor, "B n"]) -> Prepared:
        inner = self.recurrent
        self._check(x)
        injected = linear(x, inner.weight_ih, inner.bias_ih)
        return Prepared(shared=(inner.weight_hh, inner.bias_hh, self.gain), rows=injected)

    @override
    def update(self, z: StateT, shared: Any, rows: Any) -> StateT:
        inner = self.recurrent
        if isinstance(inner, nn.LSTMCell):
            return cast("StateT", _lstm(cast("Pair", z), shared, rows))
        if isinstance(inner, nn.GRUCell):
            return cast("StateT", _gru(cast("Tensor", z), shared, rows))
        rectified = inner.nonlinearity == "relu"
        return cast("StateT", _rnn(cast("Tensor", z), shared, rows, rectified=rectified))

    @override
    def certificate(self) -> Certificate:
        """Return that a fixed point exists for every x, but for an `nn.RNNCell` with "relu"."""
        inner = self.recurrent
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        if isinstance(inner, nn.LSTMCell):
            return maps_into_itself("the box |h| <= 1, |c| <= 1 / (1 - forget gate)")
        if isinstance(inner, nn.RNNCell) and inner.nonlinearity == "relu":
            return Certificate.unknown("the values of relu are not bounded, and may grow for ever")
        return maps_into_itself("the box |h| <= 1")

    def _check(self, x: Tensor) -> None:
        inner = self.recurrent
        if x.shape[-1] != inner.input_size:
            raise ValueError(
                f"RecurrentCell takes x of shape (..., {inner.input_size}), got {tuple(x.shape)}"
            )
        if inner._forward_pre_hooks or inner._forward_hooks:
            raise ValueError(
                f"the hooks of {type(inner).__name__} would not run: RecurrentCell computes its "
                "formula from its weights; register them on the RecurrentCell, or use "
                "torch.nn.utils.parametrize for weights"
            )


def _is_of_torch(recurrent: nn.RNNCellBase) -> bool:
    """Return whether it is one of torch's own cells that computes `forward`."""
    return any(
        isinstance(recurrent, kind) and type(recurrent).forward is kind.forward for kind in KINDS
    )


def _gru(h: Float[Tensor, "B m"], shared: Weights, rows: Float[Tensor, "B l"]) -> Tensor:
    weight, bias, gain = shared
    h = gain * h
    reset, update, new = rows.chunk(3, dim=1)
    by_reset, by_update, by_new = linear(h, weight, bias).chunk(3, dim=1)
    new = torch.tanh(torch.addcmul(new, torch.sigmoid(reset + by_reset), by_new))
    # Not lerp: under autocast its gates and its state have different dtypes.
    return new + torch.sigmoid(update + by_update) * (h - new)


def _rnn(
    h: Float[Tensor, "B m"], shared: Weights, rows: Float[Tensor, "B m"], *, rectified: bool
) -> Tensor:
    weight, bias, gain = shared
    total = rows + linear(gain * h, weight, bias)
    return torch.relu(total) if rectified else torch.tanh(total)


def _lstm(z: Pair, shared: Weights, rows: Float[Tensor, "B l"]) -> Pair:
    weight, bias, gain = shared
    h, c = z
    gates = rows + linear(gain * h, weight, bias)
    entry, forget, new, out = gates.chunk(4, dim=1)
    kept = torch.sigmoid(forget) * (gain * c)
    c = torch.addcmul(kept, torch.sigmoid(entry), torch.tanh(new))
    return torch.sigmoid(out) * torch.tanh(c), c
