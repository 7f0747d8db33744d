"""The memory claim at the size of the demo, and that its verdict can fail."""

from dataclasses import replace

import pytest

from deqlab.experiments.memory import EXPERIMENT, MemoryConfig


@pytest.fixture(scope="module")
def rows():
    config = replace(EXPERIMENT.presets["quick"], seeds=(0,))
    return [
        {"arm": job.arm, "seed": job.seed, **row}
        for job in EXPERIMENT.plan(config, [])
        for row in EXPERIMENT.run(config, job)
    ]


def peaks(rows, arm):
    return {
        row["iterations"]: row["peak_memory_bytes"]
        for row in rows
        if row["kind"] == "point" and row["arm"] == arm
    }


@pytest.mark.slow
def test_implicit_memory_is_flat_and_unrolled_memory_linear(rows):
    implicit, unrolled = peaks(rows, "implicit"), peaks(rows, "unrolled")
    assert max(implicit.values()) < 1.05 * min(implicit.values())
    per_iteration = (unrolled[50] - unrolled[10]) / 40
    assert per_iteration >= 64 * 256 * 4  # at least one state of 64 x 256 float32 numbers
    assert (unrolled[250] - unrolled[50]) / 200 == pytest.approx(per_iteration, rel=0.02)


def test_the_verdict_sees_a_memory_that_grows(rows):
    config = MemoryConfig(seeds=(0,))
    assert EXPERIMENT.judge(config, rows).outcome == "holds"
    grown = [
        row | {"growth": 0.06} if row["kind"] == "summary" and row["arm"] == "implicit" else row
        for row in rows
    ]
    assert EXPERIMENT.judge(config, grown).outcome == "does not hold here"
    flat = [row | {"peak_memory_bytes": 1} if row["kind"] == "point" else row for row in rows]
    assert EXPERIMENT.judge(config, flat).outcome == "does not hold here"


@pytest.mark.parametrize("iterations", [(10,), (50, 10), (0, 10), (10, 10)])
def test_iterations_out_of_order_are_refused(iterations):
    with pytest.raises(ValueError, match="iterations needs two or more increasing numbers"):
        MemoryConfig(iterations=iterations)
