"""Settings of the whole suite, and what tests that compile need."""

import pytest
import torch
from hypothesis import settings

# The same examples on every machine: a red run is a bug, never luck. No deadline: machines share.
settings.register_profile("deqlab", deadline=None, derandomize=True, max_examples=12, database=None)
settings.load_profile("deqlab")


@pytest.fixture
def traceable(pytestconfig):
    """Leave the test out where types are checked at run time: torch.compile cannot trace that."""
    if pytestconfig.getoption("--jaxtyping-packages"):
        pytest.skip("torch.compile cannot trace checks of types at run time")
    torch._dynamo.reset()


@pytest.fixture
def unchecked(pytestconfig):
    """Leave the test out where checks of types refuse first what deqlab refuses in a sentence."""
    if pytestconfig.getoption("--jaxtyping-packages"):
        pytest.skip("what is of a wrong type is refused before deqlab sees it")
