"""The judge and the steps of a compiled solve, called as they are, beside those of the solvers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Anderson, Picard, Status
from deqlab.compiled.criterion import Rules, scale_at_start
from deqlab.compiled.judge import close, judge, unknown
from deqlab.compiled.steps import init, step
from deqlab.solvers.loop import verdicts
from deqlab.solvers.loop.convergence import Monitor
from deqlab.solvers.loop.convergence import Rules as MonitorRules
from deqlab.solvers.loop.evaluation import Map
from tests.problems import F64, generator, normal

NUMBERS = torch.tensor(
    [0.0, 1e-14, 1e-9, 0.3, 1.0, -2.0, 40.0, 1e7, 1e17, 1e300, torch.inf, torch.nan], dtype=F64
)
FIELDS = ("status", "steps", "residual", "tolerance", "least", "improved_at")


def assert_agree(known, monitor):
    for name in FIELDS:
        found, expected = getattr(known, name), torch.from_numpy(getattr(monitor, name))
        torch.testing.assert_close(found, expected, equal_nan=True)


@given(
    seed=st.integers(0, 1000),
    blocks=st.sampled_from([(2,), (1, 1)]),
    atol=st.sampled_from([0.0, 1e-12]),
    max_steps=st.sampled_from([5, 13]),
    coupled=st.booleans(),
)
def test_any_sequence_of_iterates_gets_the_verdicts_of_the_monitor(
    seed, blocks, atol, max_steps, coupled
):
    # Three hundred rows of two numbers, z and f(z) - z drawn at will; one in two is harmless. Ten
    # more explode, and ten shrink.
    draw = generator(seed)
    odds = torch.tensor([4.0, 2, 2, 4, 4, 4, 2, 1, 1, 0.5, 0.5, 0.5])
    settings = {"rtol": 1e-3, "atol": atol, "min_steps": 2, "max_steps": max_steps, "patience": 2}
    monitor, last, goes_on = None, (), True
    while goes_on:
        drawn = NUMBERS[torch.multinomial(odds, 1200, replacement=True, generator=draw)]
        # No two alike: verdicts on equal residuals hang on rounding.
        drawn *= 1 + 0.1 * torch.rand(1200, generator=draw, dtype=F64)
        step = 0 if monitor is None else monitor.count
        ramps = torch.cat([torch.full((20,), 1e4), torch.full((20,), 0.5)]).double() ** step
        z = torch.cat([drawn[:600], ramps]).reshape(320, 2)
        fz = z + torch.cat([drawn[600:], ramps]).reshape(320, 2)
        if monitor is None:
            monitor = Monitor(z, MonitorRules(**settings), blocks)
            scales = scale_at_start(z, fz, blocks)
            rules = Rules(solver=Picard(**settings), blocks=blocks, late=scales.start == 0)
            known, best = unknown(z, scales), z
        else:
            z = monitor.hold_finished(last[0], z)
            if not coupled:  # then a row that stands still has the same image each time
                fz = monitor.hold_finished(last[1], fz)
        goes_on = monitor.judge(z, fz)
        known, best = judge(known, best, z, fz, torch.tensor(monitor.count), rules)
        assert_agree(known, monitor)
        torch.testing.assert_close(best, monitor.best, rtol=0, atol=0, equal_nan=True)
        last = z, fz
    if max_steps == 13 and not coupled:
        assert set(monitor.status.tolist()) == set(Status)
    verdicts.measure_held(monitor, z, fz)
    proven = known.unproven
    assert bool(proven) == verdicts.is_unproven(monitor)
    if proven:
        fz = best * 1.001 + 1e-4 if coupled else best + (fz - z)
        known, _ = judge(known, best, best, fz, torch.tensor(99), rules, torch.tensor(True))
        verdicts.prove(monitor, fz)
    verdicts.withdraw(monitor)
    assert_agree(close(known, proven, torch.tensor(monitor.count == max_steps)), monitor)


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
