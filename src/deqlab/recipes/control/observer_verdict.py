"""The verdict on an observer: is it near the state from every start, and does it contract?"""

from collections.abc import Sequence
from dataclasses import replace

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    by_seed,
    least_converged_deq,
    number,
    outcome,
    select,
    with_range,
)
from deqlab.recipes.control.config import ObserverConfig
from deqlab.recipes.task import Metric
from deqlab.recipes.verdict import judge as judge_recipe

LARGEST = 1e-3
"""What an error may be once the observer has settled."""


def judge(config: ObserverConfig, rows: Sequence[Row], *, metric: Metric) -> Verdict:
    """Return whether the error is within LARGEST from every start, and contraction is proved.

    Args:
        config: The config.
        rows: The rows of all arms.
        metric: What networks are compared by.
    """
    found = judge_recipe(config, rows, metric=metric, margin=None)
    ours = by_seed(rows, metric.field, arm="deq", missing=metric.worst)
    proved = select(rows, "certificate", arm="deq")
    parts = [max(ours.values()) <= LARGEST, bool(proved) and all(row["holds"] for row in proved)]
    starts = [row["error"] for row in select(rows, "start", arm="deq")]
    details = [
        f"Its error is at most {LARGEST:g} from {sum(e <= LARGEST for e in starts)} of "
        f"{len(starts)} starts, over all seeds.",
    ]
    if proved:
        margins = with_range([row["margin"] for row in proved], number)
        details.append(
            f"Contraction by {config.contraction:g} a step is "
            f"{'proved' if parts[1] else 'NOT proved'} before and after training, with a margin of "
            f"{margins} in units of the diagonal."
        )
    solved = least_converged_deq(rows)
    return replace(found, outcome=outcome(parts, solved=solved), details=(*details, *found.details))
