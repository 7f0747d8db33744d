"""The judge and the steps of a compiled solve, called as they are, beside those of the solvers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Anderson, Picard, Status
from deqlab.compiled.judge import Rules, judge, scale_at_start, unknown
from deqlab.compiled.steps import init, step
from deqlab.solvers.map import Map
from deqlab.solvers.monitor import Monitor
from deqlab.solvers.monitor import Rules as MonitorRules
from tests.problems import F64, generator, normal

NUMBERS = torch.tensor(
    [0.0, 1e-14, 1e-9, 0.3, 1.0, -2.0, 40.0, 1e7, 1e17, 1e300, torch.inf, torch.nan], dtype=F64
)
FIELDS = ("status", "steps", "residual", "tolerance", "least", "improved_at")


@given(seed=st.integers(0, 1000), blocks=st.sampled_from([(2,), (1, 1)]))
def test_any_sequence_of_iterates_gets_the_verdicts_of_the_monitor(seed, blocks):
    # A hundred rows of two numbers, z and f(z) - z drawn at will; one in two is harmless.
    draw = generator(seed)
    odds = torch.tensor([4.0, 2, 2, 4, 4, 4, 2, 1, 1, 0.5, 0.5, 0.5])
    settings = {"rtol": 1e-3, "atol": 1e-12, "min_steps": 2, "max_steps": 5, "patience": 3}
    monitor, last, goes_on = None, (), True
    while goes_on:
        drawn = NUMBERS[torch.multinomial(odds, 400, replacement=True, generator=draw)]
        z, g = drawn.reshape(2, 100, 2)
        fz = z + g
        if monitor is None:
            monitor = Monitor(z, MonitorRules(**settings), blocks)
            start = scale_at_start(z, fz, blocks)
            rules = Rules(solver=Picard(**settings), blocks=blocks, start=start)
            known, best = unknown(z), z
        else:
            z, fz = map(monitor.hold_finished, last, (z, fz))
        goes_on = monitor.judge(z, fz)
        known, best = judge(known, best, z, fz, torch.tensor(monitor.count), rules)
        for name in FIELDS:
            found, expected = getattr(known, name), torch.from_numpy(getattr(monitor, name))
            torch.testing.assert_close(found, expected, equal_nan=True)
        torch.testing.assert_close(best, monitor.best, rtol=0, atol=0, equal_nan=True)
        last = z, fz
    assert set(monitor.status.tolist()) == set(Status)


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
    f = Map(lambda z: z, torch.ones(3, dtype=torch.bool).numpy())
    f.weights, known, recent = weights, solver.init(torch.zeros(3, 5)), None
    for count in range(1, 9):
        z, g = normal(2, 3, 5, seed=seed + count)
        fz = z + g * 3.0 ** (count % 3)  # jumps up and down, so that rows are rejected
        recent = init(solver, z, fz, weights) if recent is None else recent
        expected, known = solver.step(f, z, fz, known)
        found, recent = step(solver, z, fz, recent, torch.tensor(count), weights)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
