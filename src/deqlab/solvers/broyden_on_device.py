"""What `broyden_updates` keeps, where nobody looks at a number: for states on a device.

How many steps a row holds is known to the device alone. What a row does not hold is zero in C, and
so takes no part in a product; in S and G it may be anything, until a new step is written there.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from deqlab.linalg.arrays import combine, eps, scaled, written
from deqlab.solvers.broyden_updates import FIRST, wide_dots


@dataclass
class UpdatesOnDevice:
    """S, C and G of every row."""

    steps: Float[Tensor, "B n D"]
    product: Float64[Tensor, "B n n"]  # C
    gram: Float64[Tensor, "B n n"]  # G
    count: Int64[Tensor, " B"]  # steps held
    room: int  # steps that a row may hold
    most: int = 0  # no row holds more

    @classmethod
    def for_states(cls, z: Float[Tensor, "B D"], room: int) -> "UpdatesOnDevice":
        """Return no updates yet; in float32 at least."""
        n = min(room, FIRST)
        square = z.new_zeros((len(z), n, n), dtype=torch.float64)
        return cls(
            steps=z.new_zeros(
                (len(z), n, z.shape[1]), dtype=torch.promote_types(z.dtype, torch.float32)
            ),
            product=square,
            gram=square.clone(),
            count=torch.zeros(len(z), dtype=torch.int64, device=z.device),
            room=room,
        )

    def array(self, matrix: Tensor) -> Tensor:
        """Return a matrix in the precision of the steps."""
        return matrix.to(self.steps.dtype)

    def mask(self, rows: Bool[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """Return the mask, which is on the device."""
        return rows

    def full(self) -> Bool[Tensor, " B"]:
        """Return which rows have no room for another step."""
        return self.count == self.room

    def last_size(self) -> Float64[Tensor, " B"]:
        """Return the norm of the last step of every row; a constant to a tape."""
        who, last = self._last()
        return self.gram[who, last, last].detach().sqrt()

    def start(self, rows: Bool[Tensor, " B"], step: Float[Tensor, "B D"]) -> None:
        """Let these rows forget what they hold, for this step."""
        self.count = torch.where(rows, 0, self.count)
        self.product = torch.where(rows[:, None, None], 0.0, self.product)
        none = torch.zeros_like(self.product[:, 0])
        self._append(rows, step, none, none)

    def extend(
        self, g: Float[Tensor, "B D"], beta: Float[Tensor, " B"], rows: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        """Return the step -H g of every row, with H updated; these rows hold it from now on."""
        steps, product, gram = self._held()
        overlaps = wide_dots(steps, g)
        weights = wide_dots(product, overlaps)
        w = g + combine(steps, weights)

        who, last = self._last()
        products = gram[who, last]  # G_p, (B, n)
        square = products[who, last]
        shrink = 1 - beta * wide_dots(self.steps[who, last][:, None], w)[:, 0] / square
        # s'H dg = shrink |s|^2: what is no more than rounding would send z anywhere.
        sound = (shrink.abs() > 10 * eps(g)) & (square > 0)
        scale = beta / torch.where(sound, shrink, 1.0)
        newest = torch.arange(steps.shape[1], device=g.device) == last[:, None]
        coupling = combine(product, products) + newest
        coupling = coupling * torch.where(sound, 1 / torch.where(sound, square, 1.0), 0.0)[:, None]

        step: Tensor = scaled(scale, w)
        beside = scale[:, None] * (overlaps + wide_dots(gram, weights))
        self._append(rows, step, coupling, beside)
        return step

    def apply(self, v: Float[Tensor, "B D"], *, transposed: bool) -> Float[Tensor, "B D"]:
        """Return the product of all factors times v, or of their transposes."""
        steps, product, _ = self._held()
        overlaps = wide_dots(steps, v)
        weights = combine(product, overlaps) if transposed else wide_dots(product, overlaps)
        along: Tensor = combine(steps, weights)
        return v + along

    def _held(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the parts of S, C and G that any row may use."""
        n = slice(max(1, self.most))
        return self.steps[:, n], self.product[:, n, n], self.gram[:, n, n]

    def _append(
        self,
        rows: Bool[Tensor, " B"],
        step: Float[Tensor, "B D"],
        coupling: Float64[Tensor, "B n"],
        products: Float64[Tensor, "B n"],
    ) -> None:
        """Give these rows one more step, with its row of C and of G."""
        self.most = min(self.most + 1, self.room)
        self._reserve(self.most)
        who, place = torch.arange(len(rows), device=step.device), self.count
        place = torch.where(rows, place, 0)  # others keep what they have there
        self.steps = self._put(self.steps, rows, (who, place), step)
        n = slice(coupling.shape[1])
        self.product = self._put(self.product, rows, (who, place, n), coupling)
        self.gram = self._put(self.gram, rows, (who, place, n), products)
        self.gram = self._put(self.gram, rows, (who, n, place), products)
        square = wide_dots(step[:, None], step)[:, 0]
        self.gram = self._put(self.gram, rows, (who, place, place), square)
        self.count = self.count + rows

    def _put(self, array: Tensor, rows: Tensor, index: tuple[Any, ...], part: Tensor) -> Tensor:
        old = array[index]
        chosen = torch.where(rows.view(-1, *(1,) * (old.ndim - 1)), part.to(old.dtype), old)
        replaced: Tensor = written(array, index, chosen)
        return replaced

    def _reserve(self, n: int) -> None:
        """Make room for n steps a row."""
        have = self.steps.shape[1]
        if n > have:
            more = min(max(n, 2 * have), self.room) - have
            pad = torch.nn.functional.pad
            self.steps = pad(self.steps, (0, 0, 0, more))
            self.product = pad(self.product, (0, more, 0, more))
            self.gram = pad(self.gram, (0, more, 0, more))

    def _last(self) -> tuple[Tensor, Tensor]:
        """Return an index of the last step of every row."""
        who = torch.arange(len(self.count), device=self.count.device)
        return who, (self.count - 1).clamp_min(0)
