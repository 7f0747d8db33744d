"""Training steps of torchdeq, and the search for its fastest setting that is accurate enough.

A setting pairs a forward solver with a backward one, or with its phantom gradient, and each has a
knob: a tolerance, or the number of phantom steps. Accuracy falls and speed rises as a knob is
loosened, so that only the settings on the edge of what is accurate can be the fastest: a staircase
through the grid of the two knobs, from one corner to the opposite, meets all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torchdeq import get_deq

from benchmarks import results
from benchmarks.steps import Bench, Solve

SOLVERS = ("anderson", "fixed_point_iter", "broyden")  # the likely fastest first: it cuts searches
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)  # loose to tight, as all knobs
# On a map with kinks the error of the gradient falls with the root of that of z*.
FORWARD_TOLERANCES = (*TOLERANCES, 1e-6)
PHANTOM_STEPS = (5, 10, 20, 40)
DAMPINGS = {"phantom": 1.0, "phantom tau=.5": 0.5}
LIMITS = (50, 100)
"""Limits on the iterations of both solves; the second is tried where the first was reached."""


HOPELESS = 3.0
"""A walk ends at a setting that misses and takes this many times the fastest accurate one: from
there on it only tightens the forward solve. Generous, because each is timed once."""


@dataclass(frozen=True)
class Setting:
    """One configuration of torchdeq.

    Attributes:
        forward: The forward solver.
        backward: The backward solver, or a key of `DAMPINGS`.
        tolerance: Relative, of the forward solve.
        knob: The relative tolerance of the backward solve, or the number of phantom steps.
        limit: Iterations at most, of either.
    """

    forward: str
    backward: str
    tolerance: float
    knob: float
    limit: int

    @property
    def name(self) -> str:
        return (
            f"torchdeq {self.forward} {self.tolerance:g}, {self.backward} {self.knob:g}, "
            f"max {self.limit}"
        )

    def solve(self) -> Solve:
        """Return the differentiable solve."""
        options: dict[str, Any] = {
            "f_solver": self.forward,
            "f_tol": self.tolerance,
            "f_stop_mode": "rel",
            "f_max_iter": self.limit,
        }
        if self.backward in DAMPINGS:
            options |= {"grad": int(self.knob), "tau": DAMPINGS[self.backward]}
        else:
            options |= {
                "ift": True,
                "b_solver": self.backward,
                "b_tol": self.knob,
                "b_stop_mode": "rel",
                "b_max_iter": self.limit,
            }
        deq = get_deq(**options).train()

        def solve(cell: Callable[..., Tensor], z0: Tensor, arguments: Sequence[Tensor]) -> Tensor:
            (value,), _ = deq(lambda z: cell(z, *arguments), z0)
            return value

        return solve


def screen(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield one row per setting that the search looks at; "setting" holds the setting itself."""
    fastest = float("inf")
    for forward in SOLVERS:
        for backward in (*SOLVERS, *DAMPINGS):
            for row in _staircase(bench, forward, backward, fastest):
                if row.get("within"):
                    fastest = min(fastest, row["seconds_once"])
                yield row


def _staircase(
    bench: Bench, forward: str, backward: str, fastest: float
) -> Iterator[dict[str, Any]]:
    """Walk from the loosest forward solve with the tightest backward one to the other corner."""
    knobs = PHANTOM_STEPS if backward in DAMPINGS else TOLERANCES
    i, j = 0, len(knobs) - 1
    while i < len(FORWARD_TOLERANCES) and j >= 0:
        within = False
        for limit in LIMITS:
            row = _measured(
                bench, Setting(forward, backward, FORWARD_TOLERANCES[i], knobs[j], limit)
            )
            yield row
            within = row.get("within", False)
            exhausted = max(row.get("evaluations", 0), row.get("products", 0)) >= limit
            if within or not exhausted:
                break
        if within:
            j -= 1
        elif row.get("seconds_once", 0.0) > HOPELESS * fastest:
            break
        else:
            i += 1


def _measured(bench: Bench, setting: Setting) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": setting.name,
        "implicit": setting.backward in SOLVERS,
        "setting": setting,
    }
    try:
        return row | bench.measure(setting.solve())
    except Exception as error:  # a failure is a result
        return row | {"failure": results.sentence(error)}
