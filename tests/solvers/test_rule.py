"""The verdicts on any sequence of iterates, beside the rule in plain Python."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Picard, Status
from deqlab.linalg.arrays import as_tensor
from deqlab.solvers.loop.convergence import Convergence
from deqlab.solvers.loop.on_device import OnDevice
from tests.problems import F64, generator
from tests.solvers.rule import CONVERGED, DIVERGED, NONFINITE, RUNS, STAGNATED, Row

CODES = {
    CONVERGED: Status.CONVERGED,
    RUNS: Status.MAX_STEPS,
    STAGNATED: Status.STAGNATED,
    DIVERGED: Status.DIVERGED,
    NONFINITE: Status.NONFINITE,
}
NUMBERS = torch.tensor(
    [0.0, 1e-14, 1e-9, 0.3, 1.0, -2.0, 40.0, 1e7, 1e17, 1e300, torch.inf], dtype=F64
)
ODDS = torch.tensor([4.0, 2, 2, 4, 4, 4, 2, 1, 1, 0.5, 0.2])


@given(
    seed=st.integers(0, 1000),
    blocks=st.sampled_from([(2,), (1, 1)]),
    atol=st.sampled_from([0.0, 1e-12]),
    patience=st.sampled_from([2, 5]),
    follow=st.sampled_from([Convergence, OnDevice]),
)
def test_any_sequence_of_iterates_gets_the_verdicts_of_the_rule(
    seed, blocks, atol, patience, follow
):
    draw = generator(seed)
    settings = Picard(rtol=1e-3, atol=atol, min_steps=2, max_steps=16, patience=patience)
    rows = [Row(settings, blocks) for _ in range(60)]
    convergence, last, found = None, None, set()
    while convergence is None or convergence.goes_on(lambda: None):
        drawn = NUMBERS[torch.multinomial(ODDS, 200, replacement=True, generator=draw)]
        # No two alike: verdicts on equal residuals hang on rounding.
        drawn *= 1 + 0.1 * torch.rand(200, generator=draw, dtype=F64)
        step = 0 if convergence is None else convergence.count
        ramps = torch.cat([torch.full((10,), 1e4), torch.full((10,), 0.5)]).double() ** step
        z = torch.cat([drawn[:100], ramps]).reshape(60, 2)
        fz = z + torch.cat([drawn[100:], ramps]).reshape(60, 2)
        if convergence is None:
            convergence = follow(z, settings.rules(F64), blocks)
        else:
            z, fz = (convergence.hold_finished(*pair) for pair in zip(last, (z, fz), strict=True))
        convergence.judge(z, fz)
        for row, a, b in zip(rows, z.tolist(), fz.tolist(), strict=True):
            row.see(a, b)
        known, last = convergence.verdicts, (z, fz)
        assert known.status.tolist() == [CODES[row.verdict] for row in rows]
        assert known.steps.tolist() == [row.count for row in rows]
        for name in ("residual", "tolerance"):
            expected = torch.tensor([getattr(row, name) for row in rows], dtype=F64)
            torch.testing.assert_close(as_tensor(getattr(known, name)), expected)
        best = torch.tensor([row.value for row in rows], dtype=F64)
        torch.testing.assert_close(convergence.best, best, rtol=0, atol=0)
        found |= set(known.status.tolist())
    assert found >= set(Status) - ({Status.STAGNATED} if patience == 5 else set())
