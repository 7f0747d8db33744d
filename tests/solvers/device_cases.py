"""Hard problems, each solved on the CPU and on the pretend device: `python -m this SOLVER`.

Prints one line of JSON for each case: its name, and what was not the same; see `test_on_device`.
"""

import json
import os
import sys
import warnings

import torch

from deqlab import Anderson, Auto, Broyden, Newton, NewtonKrylov, Picard, fixed_point
from deqlab.solvers import Reversible
from deqlab.solvers.loop.on_device import STRIDE
from tests.problems import matrix, normal

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16

SOLVERS = {
    "Picard": Picard(rtol=1e-5, max_steps=60),
    "Anderson": Anderson(rtol=1e-5, max_steps=60),
    "AndersonRounded": Anderson(rtol=1e-5, max_steps=60, window_dtype=torch.float32),
    "Broyden": Broyden(rtol=1e-5, max_steps=60),
    "Newton": Newton(rtol=1e-5, max_steps=60),
    "NewtonKrylov": NewtonKrylov(rtol=1e-5, max_steps=60),
    "Auto": Auto(rtol=1e-5, max_steps=60),
    "Reversible": Reversible(rtol=1e-5, max_steps=60),
}

WILD = ("coupled", "coupled and failing", "one turns", "one grows", "one breaks")

LATE = {"Newton": 60, "NewtonKrylov": 60, "Reversible": 14}
"""Evaluations past the end, where they are more than 7: of steps that take two, or that take one
more where the CPU knows that no row needs it."""

W = matrix(6, norm=1.0, seed=0)
X = normal(5, 6, seed=1)
RATES = torch.tensor([0.2, 0.5, 0.7, 0.8, 0.9], dtype=F64)[:, None]


def tanh(z, x, w, rates):
    return torch.tanh(rates * (z @ w)) + x


def pair(z, x, w, rates):
    """Two blocks of very different units, each fed by the other."""
    a, b = z
    return torch.tanh(1e4 * b @ w * rates) + x, 1e-4 * torch.tanh(a @ w) * rates


def fed(z, x, w, rates):
    """A block that starts at rest, and wakes when the other has moved."""
    a, b = z
    return torch.tanh(rates * a @ w) + x, 0.5 * b + rates * (a - x).pow(3)


def mean(z, x, w, rates):
    """Rows that depend on each other."""
    return torch.tanh(rates * (z @ w)) + x + 0.3 * z.mean(dim=0, keepdim=True)


def turning(z, x, w, rates):
    """Rows that contract, and one that turns for ever."""
    turned = torch.stack([z[:, 1], -z[:, 0], *z[:, 2:].unbind(1)], dim=1)
    return torch.where(rates > 0.85, turned + x, torch.tanh(rates * (z @ w)) + x)


def growing(z, x, w, rates):
    """Rows that contract, and one that has no fixed point."""
    return torch.where(rates > 0.85, 4 * z + 1 + x.abs(), torch.tanh(rates * (z @ w)) + x)


def breaking(z, x, w, rates):
    """Rows that contract, and one that is not finite after a few steps."""
    return torch.where(rates > 0.85, z.abs().exp() * 3, torch.tanh(rates * (z @ w)) + x)


def kinked(z, x, w, rates):
    return torch.relu(rates * (z @ w) + x)


ZERO = torch.zeros_like(X)
FIXED = X / (1 - 0.5)

# f, z0, x, dtype, options
CASES = {
    "rates": (tanh, ZERO, X, F32, {}),
    "float64": (tanh, ZERO, X, F64, {}),
    "bfloat16": (tanh, ZERO, X, BF16, {}),
    "large": (lambda z, x, w, r: 1e20 * tanh(z / 1e20, x, w, r), ZERO, X, F64, {}),
    "one sample": (tanh, ZERO, X, F32, {"batched": False}),
    "two blocks": (pair, (ZERO, ZERO), X, F64, {}),
    "a block at rest": (fed, (ZERO, ZERO), X, F64, {}),
    "rows that leave": (tanh, ZERO, X, F32, {"rows_independent": [True, False, True]}),
    "at the solution": (lambda z, x, w, r: 0.5 * z + x, FIXED, X, F64, {}),
    "coupled": (mean, ZERO, X, F64, {}),
    "coupled and failing": (
        lambda z, x, w, r: turning(z, x, w, r) + 0.01 * z.mean(dim=0, keepdim=True),
        ZERO,
        X,
        F64,
        {},
    ),
    "one turns": (turning, ZERO, X, F64, {}),
    "one grows": (growing, ZERO, X, F64, {}),
    "one breaks": (breaking, ZERO, X, F32, {}),
    "kinks": (kinked, ZERO, X, F64, {}),
    "no rows": (tanh, ZERO[:0], X[:0], F32, {}),
    "aux": (lambda *a: (tanh(*a), a[0].sum()), ZERO, X, F64, {"has_aux": True}),
}


def solved(solver, case, there):
    f, z0, x, dtype, options = CASES[case]

    def moved(tensor):
        return there(tensor.to(dtype))

    start = tuple(map(moved, z0)) if isinstance(z0, tuple) else moved(z0)
    args = moved(x), moved(W), moved(RATES[: len(x)])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fixed_point(f, start, *args, solver=solver, on_failure="ignore", **options)


def differences(solver, case):
    """Return in what the solution on the device is another one, in words."""
    from tests.pretend_device import pretend

    here = solved(SOLVERS[solver], case, torch.clone)
    there = solved(SOLVERS[solver], case, pretend)
    found, rows = [], slice(None)
    wild = case in WILD and solver not in ("Picard", "Reversible")
    if wild:  # rounding decides what becomes of a row that has no fixed point
        rows = slice(0) if case.startswith("coupled") else slice(-1)
    for name in ("status", "steps"):
        numbers = getattr(here, name)[rows].tolist(), getattr(there, name).cpu()[rows].tolist()
        if numbers[0] != numbers[1]:
            found.append(f"{name} {numbers[0]} and {numbers[1]}")
    late = there.evaluations - here.evaluations
    if not wild and not 0 <= late <= LATE.get(solver, STRIDE - 1):
        found.append(f"{here.evaluations} evaluations and {there.evaluations}")
    rows = here.converged & there.converged.cpu()
    for a, b in zip(parts(here), parts(there), strict=True):
        tolerance = (1e-2 if a.dtype == BF16 else 1e-4) * a[rows].norm(dim=1)
        if not ((a - b)[rows].norm(dim=1) <= tolerance).all():
            found.append(f"values {a} and {b}")
    return "; ".join(found)


def parts(solution):
    """Return the tensors of the value as matrices on the CPU."""
    value = solution.value if isinstance(solution.value, tuple) else (solution.value,)
    return [
        part.cpu().flatten(1) if len(part) == len(solution.status) else part.cpu().view(1, -1)
        for part in value
    ]


if __name__ == "__main__":
    for case in CASES:
        print(json.dumps([case, differences(sys.argv[1], case)]))
    sys.stdout.flush()
    os._exit(0)  # the autograd thread of such a device may abort a process that ends
