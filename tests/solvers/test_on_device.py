"""When the host looks, and that nothing else of a solve on a device hangs on it."""

import json
import subprocess
import sys
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deqlab.solvers.loop.on_device import AT_ONCE, FIRST, STRIDE, Lookout
from tests.solvers.device_cases import CASES, SOLVERS


@given(ahead=st.lists(st.sampled_from([0.4, 1.0, 3.0, 7.5, 8.0, 40.0, inf, nan]), max_size=60))
def test_the_host_looks_at_most_so_often_and_not_much_too_late(ahead):
    lookout, count = Lookout(first=1), 0
    for looks, expected in enumerate(ahead, 1):
        before, count = count, lookout.due
        assert looks <= AT_ONCE + count / STRIDE
        assert 1 <= count - before <= max(STRIDE, FIRST)
        lookout.plan(count, expected)


def test_nobody_looks_before_a_row_may_have_converged():
    assert Lookout(first=20).due == 20


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_device_gives_the_verdicts_of_the_cpu(solver):
    # In a process of its own: see `tests.pretend_device`.
    command = [sys.executable, "-m", "tests.solvers.device_cases", solver]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(map(json.loads, done.stdout.splitlines()))
    assert found == dict.fromkeys(CASES, "")
