"""The multiscale cell: a state of feature maps at several resolutions, found all at once.

At each resolution i = 1, ..., n, from the finest to the coarsest, with * a convolution and N group
normalisation without weights of its own,

    h_i = relu(q_i + g (r z_i + m_i B_i * relu(N(A_i * z_i)))),    q_i = N(U_i * pool_i(x) + b_i)
    f_i = relu(N(h_i + sum over j < i of D_ij(h_j) + sum over j > i of up(E_ij * h_j)))

A residual block and the injected input make h_i, and then resolutions exchange: neighbours only,
or all of them. D_ij is a chain of i - j convolutions of stride 2 with rectifiers in between, E_ij a
1 x 1 convolution, up repeats pixels. Coarser maps have half the pixels in each direction, and
pool_i averages x to the resolution. m_i is a mask of dropout that stays during a solve. Source:
Bai, Koltun & Kolter (2020), "Multiscale Deep Equilibrium Models"; there r and g are 1, and x enters
at the finest resolution only: at the equilibrium the others hear of it all the same.

What keeps the iteration stable is derived here: A, B, D and E have norm 1 (see `filters`), q has
variance 1, and g scales all of the feedback. So the state enters h at a fixed size relative to the
input, and weights grow in no direction that the normalisation would hide from weight decay. With
operator norms and an epsilon of N that is not small, f contracts at small g: N is
1/sqrt(epsilon)-Lipschitz, and with M_ii = 1 and M_ij the norms of the exchange

    |df/dz| <= |M diag(l)|_2 / sqrt(epsilon),    l_i = g (r + |A_i| |B_i| / sqrt(epsilon)).

Everything works on one sample at a time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, group_norm
from typing_extensions import override

from deqlab.arguments import check_count, check_number
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.exchange import (
    Chains,
    Maps,
    Reach,
    chains,
    check_reach,
    distant,
    exchange_bounds,
    exchanged,
    neighbours,
)
from deqlab.nn.cells.filters import Filters
from deqlab.nn.cells.pyramid import Pyramid
from deqlab.nn.channels import check_channels, check_eps
from deqlab.nn.knob import Knob, check_gain
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.fixed_point_theorems import contraction
from deqlab.stability.convolutions import convolution_bound


class Weights(NamedTuple):
    """What all samples have in common, at the norms that it has in f."""

    first: list[Tensor]  # A
    second: list[Tensor]  # g B
    identity: Tensor | None  # g r, if r is not 0
    into: Chains  # D and E


class Injected(NamedTuple):
    """What belongs to samples, for each resolution."""

    q: list[Tensor]
    masks: list[Tensor]  # none without dropout


class MultiscaleCell(Cell[Maps]):
    """f(z, x) for a state of feature maps, each of half the resolution of the one before.

    Shapes: x (B, num_inputs, H, W); z is a tuple of (B, channels[i], H / 2^i, W / 2^i). H and W
    are multiples of 2^(n - 1), for n resolutions.

    Args:
        num_inputs: Channels of x.
        channels: Those of the state, the finest resolution first; multiples of `groups`.
        groups: The number of groups of the normalisation, at each resolution.
        gain: g at the start, more than 0. The larger it is, the more the network computes in its
            iterations, and the more of them a solve takes.
        highest: The largest g that `knob` allows.
        exchange: "neighbours", or "all" pairs of resolutions.
        expansion: The channels between A and B are so many times those of the state.
        identity: r, at least 0: the part of z that goes around the two convolutions.
        dropout: The probability with which a number of B's result is 0 in training mode, in [0, 1).
            One mask is drawn for each solve.
        size: The height and the width of the largest x at which operator norms are 1; None gives
            each filter the norm 1.
        eps: Epsilon of the normalisation, more than 0.
    """

    gain: Float[Tensor, ""]

    def __init__(
        self,
        num_inputs: int,
        channels: Sequence[int],
        *,
        groups: int = 4,
        gain: float = 0.4,
        highest: float = 8.0,
        exchange: Reach = "neighbours",
        expansion: int = 1,
        identity: float = 0.0,
        dropout: float = 0.0,
        size: Sequence[int] | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check_count("num_inputs", num_inputs)
        check_channels(channels, groups)
        check_gain(gain, highest)
        check_reach(exchange)
        check_count("expansion", expansion)
        check_eps(eps)
        _check_shares(identity, dropout)
        self.channels, self.groups = tuple(channels), groups
        self.exchange: Reach = exchange
        self.expansion, self.identity, self.dropout = expansion, identity, dropout
        self.eps, self.highest = eps, highest
        self.pyramid = Pyramid.of(len(channels), size)
        sizes = self.pyramid.sizes
        wide = [expansion * c for c in channels]
        self.inject = nn.ModuleList(nn.Conv2d(num_inputs, c, 3, padding=1) for c in channels)
        self.first = Filters([(e, c, 3) for c, e in zip(channels, wide, strict=True)], sizes)
        self.second = Filters([(c, e, 3) for c, e in zip(channels, wide, strict=True)], sizes)
        self.down, self.up = neighbours(channels, sizes)
        if exchange == "all":
            self.far_down, self.far_up = distant(channels, sizes)
        self.register_buffer("gain", torch.tensor(float(gain)))

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=self.highest)

    @override
    def initial(self, x: Float[Tensor, "B n H W"]) -> Maps:
        return self.pyramid.initial(x, self.channels)

    @override
    def prepare(self, x: Float[Tensor, "B n H W"]) -> Prepared:
        self.pyramid.check(x)
        q = []
        for i, inject in enumerate(self.inject):
            q.append(self._normalised(inject(avg_pool2d(x, 2**i) if i else x)))
        masks = []
        if self.training and self.dropout:
            kept = 1 - self.dropout
            masks = [torch.empty_like(part).bernoulli_(kept).div_(kept) for part in q]
        return Prepared(shared=self._weights(), rows=Injected(q, masks))

    @override
    def update(self, z: Maps, shared: Weights, rows: Injected) -> Maps:
        h = []
        for i, part in enumerate(z):
            inner = torch.relu(self._normalised(_same(part, shared.first[i])))
            state = _same(inner, shared.second[i])
            if rows.masks:
                state = state * rows.masks[i]
            if shared.identity is not None:
                state = torch.addcmul(state, shared.identity, part)
            h.append(torch.relu(rows.q[i] + state))
        return tuple(
            torch.relu(self._normalised(exchanged(h, shared.into, i))) for i in range(len(h))
        )

    @override
    def certificate(self) -> Certificate:
        """Return what is proved of f: that it contracts in the Euclidean norm, at small g.

        At larger g a fixed point exists, for f is bounded, and more is not known.
        `lipschitz` bounds |z*(q) - z*(q')| / |q - q'|, with the q of all resolutions in one vector.
        """
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        with torch.no_grad():
            weights, sizes = self._weights(), self.pyramid.sizes
        root = self.eps**-0.5
        masked = 1 / (1 - self.dropout) if self.training else 1.0
        own = 0.0 if weights.identity is None else float(weights.identity)
        blocks = []
        for i, (a, b) in enumerate(zip(weights.first, weights.second, strict=True)):
            size = None if sizes is None else sizes[i]
            product = convolution_bound(a, size) * convolution_bound(b, size)
            blocks.append(own + masked * root * product)
        exchange = exchange_bounds(weights.into, sizes)
        feedback = exchange * torch.tensor(blocks, dtype=exchange.dtype)
        return contraction(
            root * float(torch.linalg.matrix_norm(feedback, ord=2)),
            "|M diag(g (r + |A| |B| / sqrt(eps)))| / sqrt(eps)",
            injection=root * float(torch.linalg.matrix_norm(exchange, ord=2)),
            bounded=True,
        )

    def _weights(self) -> Weights:
        gain = self.gain.clone()  # a controller may set it before the backward pass
        near = self.down.normalised(), self.up.normalised()
        far = None
        if self.exchange == "all":
            far = self.far_down.normalised(), self.far_up.normalised()
        return Weights(
            first=self.first.normalised(),
            second=[gain * w for w in self.second.normalised()],
            identity=gain * self.identity if self.identity else None,
            into=chains(len(self.channels), near, far),
        )

    def _normalised(self, maps: Tensor) -> Tensor:
        return group_norm(maps, self.groups, eps=self.eps)

    @override
    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *args: Any,
        **keywords: Any,
    ) -> None:
        # Weights that were saved when the gain was no buffer: it stays as the cell was made.
        state_dict.setdefault(f"{prefix}gain", self.gain)
        super()._load_from_state_dict(state_dict, prefix, *args, **keywords)

    @override
    def extra_repr(self) -> str:
        return (
            f"channels={self.channels}, groups={self.groups}, exchange={self.exchange!r}, "
            f"expansion={self.expansion}, identity={self.identity}, dropout={self.dropout}, "
            f"size={self.pyramid.size}, eps={self.eps}, highest={self.highest}"
        )


def _same(maps: Tensor, filters: Tensor) -> Tensor:
    return conv2d(maps, filters, padding=1)


def _check_shares(identity: float, dropout: float) -> None:
    check_number("identity", identity)
    check_number("dropout", dropout)
    if not 0 <= identity < float("inf"):
        raise ValueError(f"identity must be 0 or more, and finite, got {identity}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
