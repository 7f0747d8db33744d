"""How often the host waits for a device in a solve, and in its backward pass.

    python -m benchmarks.waits [--json FILE]

Every solver and every gradient runs on the pretend device of `tests.pretend_device`, which counts
whatever makes the host wait, and on the CPU: the numbers must be the same. Prints the tables of the
docs in Markdown. Nothing here is about speed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deqlab import fixed_point
from deqlab.gradients import (
    Dense,
    Gradient,
    Implicit,
    JacobianFree,
    Loops,
    Phantom,
    Reversed,
    Shine,
    Unrolled,
)
from deqlab.solution import Solution
from deqlab.solvers import (
    Anderson,
    Auto,
    Broyden,
    ForwardBackward,
    MonotoneMap,
    Newton,
    NewtonKrylov,
    PeacemanRachford,
    Picard,
    Relu,
    Reversible,
    Solver,
)

FREE, STRIDE = 3, 8
"""A pass of n steps may wait `FREE` + n / `STRIDE` times; a step is an evaluation or a product."""

SOLVERS: dict[str, Solver[Any]] = {
    "Picard": Picard(rtol=1e-6, max_steps=300),
    "Anderson": Anderson(rtol=1e-6),
    "Broyden": Broyden(rtol=1e-6),
    "Newton": Newton(rtol=1e-6),
    "NewtonKrylov": NewtonKrylov(rtol=1e-6),
    "Auto": Auto(rtol=1e-6),
    "Reversible": Reversible(rtol=1e-6, max_steps=300),
    "ForwardBackward": ForwardBackward(rtol=1e-6, max_steps=400, alpha=0.3),
    "PeacemanRachford": PeacemanRachford(rtol=1e-6, max_steps=300),
}

GRADIENTS: dict[str, Gradient | None] = {
    "none": None,
    "Implicit": Implicit(),
    "Implicit, accuracy": Implicit(accuracy=1e-3),
    "Implicit, Dense": Implicit(solver=Dense()),
    "Implicit, Anderson": Implicit(solver=Anderson(rtol=1e-5)),
    "JacobianFree": JacobianFree(),
    "Phantom": Phantom(),
    "Unrolled": Unrolled(steps=5),
    "Loops": Loops(steps=12),
    "Shine": Shine(),
    "Reversed": Reversed(),
}

ONLY = {"Shine": ("Broyden",), "Reversed": ("Reversible",)}
"""Gradients that go with one solver."""

MONOTONE = ("ForwardBackward", "PeacemanRachford")

Move = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One solver with one gradient."""

    solver: str
    gradient: str

    def run(self, there: Move) -> tuple[Solution[Tensor], list[Tensor], list[int]]:
        """Return the solution, the gradients, and the waits forward and backward."""
        from tests.pretend_device import waits

        f, z0, tensors = _problem(self.solver in MONOTONE)
        gradient = GRADIENTS[self.gradient]
        leaves = [there(tensor).requires_grad_(gradient is not None) for tensor in tensors]
        options = {} if gradient is None else {"gradient": gradient}
        with torch.set_grad_enabled(gradient is not None), waits() as forward:
            solution = fixed_point(f, there(z0), *leaves, solver=SOLVERS[self.solver], **options)
        if gradient is None:
            return solution, [], [forward.total()]
        with waits() as backward:
            solution.value.square().sum().backward()
        return solution, [leaf.grad for leaf in leaves], [forward.total(), backward.total()]


def cases() -> list[Case]:
    """Return all pairs that go together."""
    return [
        Case(solver, gradient)
        for solver in SOLVERS
        for gradient in GRADIENTS
        if solver in ONLY.get(gradient, SOLVERS)
    ]


def measured(case: Case) -> dict[str, Any]:
    """Return the row of a case."""
    from tests.pretend_device import pretend

    here, expected, _ = case.run(lambda tensor: tensor.clone())
    there, found, counts = case.run(pretend)
    backward = there.adjoint[-1] if there.adjoint else None
    steps = 0 if backward is None else backward.products + backward.evaluations
    if case.gradient == "Reversed":
        steps = there.evaluations
    return {
        "solver": case.solver,
        "gradient": case.gradient,
        "evaluations": there.evaluations,
        "products": there.products,
        "evaluations_on_cpu": here.evaluations,
        "waits": counts[0],
        "allowed": FREE + (there.evaluations + there.products) / STRIDE,
        "waits_backward": counts[1] if found else None,
        "steps_backward": steps,
        "allowed_backward": FREE + steps / STRIDE,
        "same_verdicts": bool(
            torch.equal(here.status, there.status.cpu())
            and torch.equal(here.steps, there.steps.cpu())
        ),
        "difference": _difference([here.value], [there.value]),
        "gradient_difference": _difference(expected, found),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return waits by solver and gradient, forward and backward, in Markdown."""
    lines = ["| solver | steps | waits forward |", "|---|---|---|"]
    for row in rows:
        if row["gradient"] == "Implicit":
            steps = row["evaluations"] + row["products"]
            lines.append(f"| `{row['solver']}` | {steps} | {row['waits']} |")
    lines += ["", "| gradient | steps | waits backward |", "|---|---|---|"]
    for name in GRADIENTS:
        found = [row for row in rows if row["gradient"] == name and row["solver"] != "Auto"]
        if name != "none":
            worst = max(found, key=lambda row: row["waits_backward"])
            lines.append(f"| `{name}` | {worst['steps_backward']} | {worst['waits_backward']} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all cases."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    rows = [measured(case) for case in cases()]
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(table(rows))


def _problem(monotone: bool) -> tuple[Callable[..., Tensor], Tensor, list[Tensor]]:
    """Return a map of 8 rows, which contract by .3 to .95, where it starts, and its tensors."""
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(16, 16, generator=rng, dtype=torch.float64)
    w = w / torch.linalg.matrix_norm(w, 2)
    x = torch.randn(8, 16, generator=rng)
    if monotone:
        return MonotoneMap(Relu()), torch.zeros(8, 16), [(0.8 * w).float(), x]
    rates = torch.linspace(0.3, 0.95, 8)[:, None]

    def f(z: Tensor, x: Tensor, w: Tensor, rates: Tensor) -> Tensor:
        return torch.tanh(rates * (z @ w) + x)

    return f, torch.zeros(8, 16), [0.3 * x, w.float(), rates]


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """Return the largest relative difference."""
    pairs = zip(expected, found, strict=True)
    gaps = [(b.detach().cpu() - a.detach()).norm() / a.detach().norm() for a, b in pairs]
    return max((gap.item() for gap in gaps), default=0.0)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the autograd thread of such a device may abort a process that ends
