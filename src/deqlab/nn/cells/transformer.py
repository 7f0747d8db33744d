"""The transformer cell: blocks of attention whose feedback a gate keeps small.

    h = x + alpha z,    alpha = cap sigmoid(g)
    h <- h + Attn(RMS(h));    h <- h + MLP(RMS(h))    (each block)
    f(z, x) = h / rms(h)

The state z of a sequence enters through alpha alone, one number a channel, in (0, cap): no identity
branch leads from z to f. At alpha = 0 f is the explicit network of these blocks at x, so that a
smaller cap makes the solve easier and the network more explicit, and never forgets x. The size of
alpha is relative to that of x, since h / rms(h) has root mean square 1 at every position: x of
embeddings with standard deviation .02 wants a cap of some hundredths. See `nn.transformer_block`
for Attn, RMS and MLP.

A gated feedback without identity branch is that of Attractor (2026), whose gates start at .75; that
the gate stands at the way in, and not at the way out, is of this library: measured, it is what
holds the equilibrium in training.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import rms_norm
from typing_extensions import override

from deqlab.arguments import check_count, check_number
from deqlab.nn.attention import EPS, seen
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.knob import Knob
from deqlab.nn.transformer_block import TransformerBlock
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.fixed_point_theorems import maps_into_itself

GATE = 0.75
"""The share of the cap at which gates start."""


class TransformerCell(Cell[Tensor]):
    """f(z, x) = rms-normalised blocks of attention at x + alpha z.

    Shapes: x and z (..., T, width); a sequence is one sample. A mask is a keyword of the solve:
    Bool (..., 1, T), True for tokens and False for padding, or (..., T, T), True where a query may
    see a key; every position sees itself. A solve starts at x.

    Args:
        width: Channels, a multiple of `heads`.
        heads: Heads of the attention.
        blocks: How many blocks stand in a row inside of f, each with weights of its own.
        causal: Whether a position sees itself and what is before it, and nothing after it.
        query_key_norm: Whether queries and keys are normalised; see `nn.attention`.
        cap: The largest alpha, from 0 to 1, in units of x; the knob of the cell.
    """

    sample_dims = 2

    rate_factors: ClassVar[Mapping[str, float]] = {"gate": 10.0}
    """See `nn.learning_rates`: gates learn faster than weights."""

    cap: Tensor

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        blocks: int = 1,
        causal: bool = True,
        query_key_norm: bool = True,
        cap: float = 0.04,
    ) -> None:
        super().__init__()
        check_count("blocks", blocks)
        check_number("cap", cap)
        if not 0 <= cap <= 1:
            raise ValueError(f"cap must be from 0 to 1, got {cap}")
        self.width = width
        self.causal = causal
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width, heads, causal=causal, query_key_norm=query_key_norm, depth=blocks
            )
            for _ in range(blocks)
        )
        self.gate = nn.Parameter(torch.full((width,), GATE).logit())
        self.register_buffer("cap", torch.tensor(float(cap)))

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="cap", value=self.cap, highest=1.0)

    @property
    def feedback(self) -> Float[Tensor, " d"]:
        """The alpha of each channel."""
        return self.cap * self.gate.sigmoid()

    @override
    def initial(self, x: Tensor, *, mask: Tensor | None = None) -> Float[Tensor, "*B T d"]:
        self._check(x)
        return x

    @override
    def prepare(self, x: Float[Tensor, "B T d"], *, mask: Tensor | None = None) -> Prepared:
        self._check(x)
        rows = (x,) if mask is None else (x, seen(mask, x, causal=self.causal))
        return Prepared(shared=self.feedback, rows=rows)

    @override
    def update(
        self, z: Float[Tensor, "B T d"], shared: Float[Tensor, " d"], rows: tuple[Tensor, ...]
    ) -> Float[Tensor, "B T d"]:
        x, mask = rows if len(rows) == 2 else (rows[0], None)
        h = torch.addcmul(x, shared, z)
        for block in self.blocks:
            h = block(h, mask)
        return rms_norm(h, (self.width,), eps=EPS)

    @override
    def certificate(self) -> Certificate:
        """Return that a fixed point exists for every x; whether it is the only one is not known."""
        return weights_not_finite(self) or maps_into_itself(
            "the set of states with root mean square at most 1 at every position"
        )

    def _check(self, x: Tensor) -> None:
        if x.ndim < 2 or x.shape[-1] != self.width:
            raise ValueError(
                f"TransformerCell takes sequences of shape (..., T, {self.width}), got "
                f"{tuple(x.shape)}"
            )

    @override
    def extra_repr(self) -> str:
        return f"width={self.width}, cap={self.cap.item():.3g}"
