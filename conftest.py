"""Code blocks in README.md and docs/, and doctests in src/, run as tests."""

from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

import pytest
import torch
from sybil import Sybil
from sybil.parsers.doctest import DocTestParser
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

_blocks = Sybil(
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=ELLIPSIS),
        SkipParser(),
    ],
    patterns=["*.md"],
    fixtures=["_seeded"],
)
_doctests = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)],
    patterns=["*.py"],
    path="src",
    fixtures=["_seeded"],
)

pytest_collect_file = (_blocks + _doctests).pytest()


# Their tests share a fixture that takes seconds.
_WHOLE = {
    "tests/experiments/bias/test_feature_density.py",
    "tests/experiments/bias/test_diagonal_flow.py",
    "tests/experiments/expressivity/open/test_open_sawtooth.py",
    "tests/experiments/kernels/test_kernel_experiments.py",
    "tests/experiments/matched/test_matched_networks.py",
    "tests/experiments/saliency/test_saliency_experiment.py",
    "tests/experiments/test_memory.py",
    "tests/integration/test_ddp.py",
    "tests/tasks/test_images.py",
    "tests/test_types.py",
    "tests/test_user_program.py",
}


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """One worker runs a page or a docstring, whose parts build on each other, and `_WHOLE`."""
    from xdist.scheduler import LoadScopeScheduling

    class FilesStayWhole(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            whole = file.endswith(".md") or file.startswith("src/") or file in _WHOLE
            return file if whole else nodeid

    return FilesStayWhole(config, log)


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same state of torch's global generator."""
    torch.manual_seed(0)
