"""The rule of convergence for one row, in plain Python: an independent statement of it.

It is the text of `solvers.loop.criterion` and `solvers.loop.progress`, number by number, for rows
that do not depend on each other.
"""

import math
from itertools import pairwise

RUNS, CONVERGED, STAGNATED, DIVERGED, NONFINITE = range(5)
EPS = 2.0**-52


def norm(numbers):
    return math.nan if any(map(math.isnan, numbers)) else math.hypot(*numbers)


def most(a, b):
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)


def least(a, b):
    return math.nan if math.isnan(a) or math.isnan(b) else min(a, b)


class Block:
    """The scale of one block."""

    def __init__(self, z, fz):
        self.start = self.reach = most(norm(z), norm(fz))
        self.late = self.start == 0

    @property
    def cap(self):
        return 10 * (self.reach if self.late else self.start)

    def measure(self, z, fz, settings):
        """|f(z) - z|, what it counts as, what it may be, |f(z)|, and whether the block woke."""
        residual, size = norm([b - a for a, b in zip(z, fz, strict=True)]), norm(fz)
        if (self.late or size > self.cap) and EPS**0.5 * size < residual < math.inf:
            self.reach = most(self.reach, residual)
        woken = self.start == 0 and 0 < size < math.inf
        if woken:
            self.start, self.reach = size, most(self.reach, size)
        rounding = EPS / 2 * size if size > self.cap else 0.0
        stands = residual == 0 and 16 * rounding <= self.reach
        counted = residual if stands else most(residual, rounding)
        relative = most(least(size, self.cap), EPS * self.start)
        return residual, counted, settings.atol + settings.rtol * relative, size, woken


class Row:
    """The verdict on one row."""

    def __init__(self, settings, blocks):
        self.settings, self.sizes = settings, blocks
        self.verdict, self.count = RUNS, 0
        self.best, self.low, self.peak, self.farthest, self.before = (math.inf,) * 5
        self.best_at = self.improved_at = 0
        self.residual = self.tolerance = math.inf
        self.value = None

    def parts(self, z):
        ends = [0, *(sum(self.sizes[: i + 1]) for i in range(len(self.sizes)))]
        return [z[a:b] for a, b in pairwise(ends)]

    def in_units(self, norms):
        if len(norms) == 1:
            return norms[0]
        return norm(
            [n / most(b.start, 2.0**-1022) for n, b in zip(norms, self.blocks, strict=True)]
        )

    @property
    def starts_at_once(self):
        """Whether no block was at rest at the start."""
        return not any(block.late for block in self.blocks)

    def see(self, z, fz):
        if self.verdict != RUNS:
            return
        self.count += 1
        pairs = list(zip(self.parts(z), self.parts(fz), strict=True))
        if self.count == 1:
            self.blocks, self.value = [Block(*pair) for pair in pairs], z
        looks = [
            b.measure(*pair, self.settings) for b, pair in zip(self.blocks, pairs, strict=True)
        ]
        residuals, counted, allowed, sizes, woken = zip(*looks, strict=True)
        measure, rounding = self.in_units(counted), 4 * EPS * self.in_units(sizes)
        if any(woken):
            self.best = self.low = math.inf
        within = all(c <= a for c, a in zip(counted, allowed, strict=True))
        done = within and math.isfinite(measure) and self.count >= self.settings.min_steps
        gains = measure < self.best
        away = self.in_units(
            [
                norm([b - a for a, b in zip(*pair, strict=True)])
                for pair in zip(self.parts(self.value), self.parts(z), strict=True)
            ]
        )
        self.progress(measure, gains, not gains and not done and measure > rounding, away)
        if gains or done:
            self.residual, self.tolerance, self.value = norm(residuals), norm(allowed), z
        self.decide(measure, done)
        self.before = measure

    def progress(self, measure, gains, counts, away):
        lower = (gains or counts) and 1.0001 * measure < self.low
        higher = counts and measure > self.peak
        if gains:
            self.best, self.best_at = measure, self.count
            if lower:
                self.farthest = self.peak = measure
        farther = counts and away > 1.1 * self.farthest
        if farther:
            self.farthest = away
        if higher:
            self.peak = measure
        if lower or farther or higher:
            self.low = measure
        if lower or farther:
            self.improved_at = self.count

    def decide(self, measure, done):
        ago = self.count - self.best_at
        if done:
            self.verdict = CONVERGED
        elif not math.isfinite(measure):
            self.verdict = NONFINITE
        elif self.starts_at_once and ago >= 10 and grows(measure, self.before, self.best, ago):
            self.verdict = DIVERGED
        elif self.count - self.improved_at >= self.settings.patience:
            self.verdict = STAGNATED


def grows(measure, before, best, ago):
    """By 29 orders since the best, and lately at half of the mean rate or more."""
    growth = ratio(measure, best)
    return growth > 1e29 and power(ratio(measure, before), 2 * ago) >= growth


def ratio(a, b):
    return a / b if b else math.inf if a > 0 else math.nan


def power(a, n):
    try:
        return a**n
    except OverflowError:
        return math.inf
