"""The pieces of a compiled solve, called as they are, beside those of the eager loop.

Both judge by one rule; the eager loop calls it with numpy arrays, sums norms in another way, and
leaves out what it knows to change nothing.
"""

import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Anderson, Picard, Status
from deqlab.compiled.solve import closed, judged
from deqlab.compiled.steps import init, step
from deqlab.linalg.norms import traceable_block_norms
from deqlab.solvers.loop.convergence import Convergence
from deqlab.solvers.loop.coupled_rows import is_unproven
from deqlab.solvers.loop.criterion import scales_at_start
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.loop.verdicts import unknown
from tests.problems import F64, generator, normal

NUMBERS = torch.tensor(
    [0.0, 1e-14, 1e-9, 0.3, 1.0, -2.0, 40.0, 1e7, 1e17, 1e300, torch.inf, torch.nan], dtype=F64
)
FIELDS = ("status", "steps", "residual", "tolerance", "least", "improved_at")


def assert_agree(known, convergence):
    for name in FIELDS:
        found, expected = getattr(known, name), getattr(convergence.verdicts, name)
        torch.testing.assert_close(found, torch.from_numpy(expected), equal_nan=True)


@given(
    seed=st.integers(0, 1000),
    blocks=st.sampled_from([(2,), (1, 1)]),
    atol=st.sampled_from([0.0, 1e-12]),
    max_steps=st.sampled_from([5, 13]),
    coupled=st.booleans(),
)
def test_any_sequence_of_iterates_gets_the_same_verdicts(seed, blocks, atol, max_steps, coupled):
    # Three hundred rows of two numbers, z and f(z) - z drawn at will; one in two is harmless. Ten
    # more explode, and ten shrink.
    draw = generator(seed)
    odds = torch.tensor([4.0, 2, 2, 4, 4, 4, 2, 1, 1, 0.5, 0.5, 0.5])
    settings = {"rtol": 1e-3, "atol": atol, "min_steps": 2, "max_steps": max_steps, "patience": 2}
    rules = Picard(**settings).rules(F64)
    convergence, last = None, ()
    while convergence is None or convergence.goes_on(lambda: None):
        drawn = NUMBERS[torch.multinomial(odds, 1200, replacement=True, generator=draw)]
        # No two alike: verdicts on equal residuals hang on rounding.
        drawn *= 1 + 0.1 * torch.rand(1200, generator=draw, dtype=F64)
        step = 0 if convergence is None else convergence.count
        ramps = torch.cat([torch.full((20,), 1e4), torch.full((20,), 0.5)]).double() ** step
        z = torch.cat([drawn[:600], ramps]).reshape(320, 2)
        fz = z + torch.cat([drawn[600:], ramps]).reshape(320, 2)
        if convergence is None:
            convergence = Convergence(z, rules, blocks)
            scales = scales_at_start(*(traceable_block_norms(each, blocks) for each in (z, fz)))
            known, best = unknown(scales.start), z
        else:
            z = convergence.hold_finished(last[0], z)
            if not coupled:  # then a row that stands still has the same image each time
                fz = convergence.hold_finished(last[1], fz)
        iterate = convergence.judge(z, fz)
        count = torch.tensor(convergence.count)
        known, best, scales = judged(known, best, scales, z, fz, count, rules, blocks)
        assert_agree(known, convergence)
        torch.testing.assert_close(best, convergence.best, rtol=0, atol=0, equal_nan=True)
        last = z, fz
    if max_steps == 13 and not coupled:
        assert set(convergence.verdicts.status.tolist()) == set(Status)
    proven, asked = is_unproven(known), []

    def f(value):
        asked.append(value)
        return value * 1.001 + 1e-4 if coupled else value + (fz - z)

    convergence.settle(iterate, f)
    assert len(asked) == bool(proven)
    if proven:
        found, _, _ = judged(known, best, scales, best, f(best), torch.tensor(99), rules, blocks)
        known = known._replace(latest=found.latest)
    assert_agree(closed(known, proven, torch.tensor(convergence.count == max_steps)), convergence)


@given(
    seed=st.integers(0, 1000),
    memory=st.integers(1, 4),
    damping=st.sampled_from([1.0, 0.6]),
    growth=st.sampled_from([1.2, 10.0]),
    weighted=st.booleans(),
)
def test_any_sequence_of_points_gets_the_steps_of_anderson(seed, memory, damping, growth, weighted):
    # Points drawn at will, not iterated: rounding is not amplified from step to step.
    solver = Anderson(memory=memory, damping=damping, growth=growth)
    weights = normal(3, 5, seed=seed).exp() if weighted else None
    f, running = CountedMap(lambda z: z), torch.ones(3, dtype=torch.bool).numpy()
    known, recent = solver.init(torch.zeros(3, 5)), None
    for count in range(1, 9):
        z, g = normal(2, 3, 5, seed=seed + count)
        fz = z + g * 3.0 ** (count % 3)  # jumps up and down, so that rows are rejected
        recent = init(solver, z, fz, weights) if recent is None else recent
        expected, known = solver.step(f, Iterate(z, fz, running, weights=weights), known)
        found, recent = step(solver, z, fz, recent, torch.tensor(count), weights)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
