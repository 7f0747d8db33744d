"""The same solve outside and inside of a compiled region."""

import torch

from deqlab import fixed_point


def compiled(call, backend="eager"):
    """A function as one graph; the backend "eager" runs the graph as it was traced."""
    return torch.compile(call, fullgraph=True, backend=backend)


def both(f, z0, *args, backend="eager", **options):
    """The solution outside, and that inside."""
    options = {"on_failure": "ignore", **options}
    call = lambda z0, *args: fixed_point(f, z0, *args, **options)  # noqa: E731
    return call(z0, *args), compiled(call, backend)(z0, *args)


def assert_same(inside, outside, *, rtol):
    """Equal verdicts, values to rounding."""
    assert inside.status.tolist() == outside.status.tolist()
    assert inside.steps.tolist() == outside.steps.tolist()
    assert inside.evaluations == outside.evaluations
    assert type(inside.evaluations) is int
    for name in ("value", "status", "steps", "residual", "tolerance"):
        found, expected = getattr(inside, name), getattr(outside, name)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    torch.testing.assert_close(inside.value, outside.value, rtol=rtol, atol=rtol)
    # A residual is a difference of nearly equal numbers: its rounding is that of the value.
    torch.testing.assert_close(inside.residual, outside.residual, rtol=1e-3, atol=10 * rtol)
    torch.testing.assert_close(inside.tolerance, outside.tolerance, rtol=1e-5, atol=0)
    assert inside.trace.shape == (0, len(inside.status))
    assert inside.trace.dtype == outside.trace.dtype
