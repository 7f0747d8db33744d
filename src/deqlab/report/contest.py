"""Read the contest of verdict.json: rivals with their leads, what to do, how many more seeds.

On disk null stands for a number that is not finite; the result says which one. A rival that
overflowed is beaten by any margin.
"""

import math
from collections.abc import Mapping
from typing import Any, get_args

from deqlab.runs.records import Contest, Result, Rival

TEXTS = ("unit", "advice", "seeds")


def read_contest(value: Mapping[str, Any]) -> Contest:
    """Return the contest that a JSON object holds.

    Raises:
        KeyError: A field is missing.
        TypeError: A field is of another type.
        ValueError: A field is outside its domain.
    """
    if not all(isinstance(value[name], str) for name in TEXTS):
        raise TypeError(f"{', '.join(TEXTS)} must be texts")
    return Contest(
        neutral=float(value["neutral"]),
        rivals=tuple(map(_read_rival, value["rivals"])),
        **{name: value[name] for name in TEXTS},
    )


def _read_rival(value: Mapping[str, Any]) -> Rival:
    result = value["result"]
    if result not in get_args(Result):
        raise ValueError(f"result is one of {', '.join(get_args(Result))}, not {result!r}")
    infinite = {
        "estimate": {"win": math.inf, "loss": -math.inf}.get(result, math.nan),
        "low": math.inf if result == "win" else -math.inf,
        "high": -math.inf if result == "loss" else math.inf,
    }
    return Rival(
        label=str(value["label"]),
        group=str(value["group"]),
        result=result,
        confidence=float(value["confidence"]),
        **{
            name: other if value[name] is None else float(value[name])
            for name, other in infinite.items()
        },
    )
