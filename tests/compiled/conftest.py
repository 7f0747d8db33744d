"""What tests that compile a solve need."""

import sys
from types import FunctionType

import jaxtyping
import pytest
import torch


@pytest.fixture
def traceable(monkeypatch):
    """No checks of types at run time, which torch.compile cannot trace; nothing of other tests."""
    for cls, name, method in _checked_methods():
        monkeypatch.setattr(cls, name, method)
    monkeypatch.setattr(jaxtyping, "jaxtyped", lambda **_: lambda function: function)  # inner ones
    torch._dynamo.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _checked_methods():
    """Every method of deqlab that jaxtyping has wrapped, as it was written."""
    modules = [module for name, module in sys.modules.items() if name.startswith("deqlab.")]
    classes = {c for module in modules for c in vars(module).values() if isinstance(c, type)}
    for cls in classes:
        if cls.__module__.startswith("deqlab."):
            for name, attribute in list(vars(cls).items()):
                written = _as_written(attribute)
                if written is not attribute:
                    yield cls, name, written


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
