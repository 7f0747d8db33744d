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
)

pytest_collect_file = (_blocks + _doctests).pytest()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """The blocks of a page build on each other: one worker runs them all, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class PagesStayWhole(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            page = nodeid.split("::")[0]
            return page if page.endswith(".md") else nodeid

    return PagesStayWhole(config, log)


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same state of torch's global generator."""
    torch.manual_seed(0)
