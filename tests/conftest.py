"""Settings of the whole suite, and what tests that compile need."""

import sys
from contextlib import contextmanager
from types import FunctionType

import jaxtyping
import pytest
import torch
from hypothesis import settings

# The same examples on every machine: a red run is a bug, never luck. No deadline: machines share.
settings.register_profile("deqlab", deadline=None, derandomize=True, max_examples=12, database=None)
settings.load_profile("deqlab")


@pytest.fixture
def traceable(monkeypatch):
    """No checks of types at run time, which torch.compile cannot trace; nothing of other tests."""
    for place, name, written in _checked():
        monkeypatch.setattr(place, name, written)
    monkeypatch.setattr(jaxtyping, "jaxtyped", lambda **_: lambda function: function)  # inner ones
    torch._dynamo.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _checked():
    """Every method and every context of deqlab that jaxtyping has wrapped, as it was written."""
    modules = [module for name, module in sys.modules.items() if name.startswith("deqlab.")]
    classes = {c for module in modules for c in vars(module).values() if isinstance(c, type)}
    for place in [*modules, *(c for c in classes if c.__module__.startswith("deqlab."))]:
        for name, attribute in list(vars(place).items()):
            written = _context_as_written(attribute)
            if isinstance(place, type):
                written = _as_written(written)
            if written is not attribute:
                yield place, name, written


def _context_as_written(attribute):
    checked = getattr(attribute, "__wrapped__", None)
    if not isinstance(attribute, FunctionType) or _as_written(checked) is checked:
        return attribute
    is_context = attribute.__globals__["__name__"] == "contextlib"
    return contextmanager(_as_written(checked)) if is_context else attribute


def _as_written(attribute):
    if isinstance(attribute, classmethod | staticmethod):
        written = _as_written(attribute.__func__)
        return attribute if written is attribute.__func__ else type(attribute)(written)
    if isinstance(attribute, property):
        written = _as_written(attribute.fget)
        return attribute if written is attribute.fget else property(written)
    if isinstance(attribute, FunctionType) and attribute.__module__ != "jaxtyping":
        is_wrapper = attribute.__globals__["__name__"] == "jaxtyping._decorator"
        return attribute.__wrapped__ if is_wrapper else attribute
    return attribute
