"""A table of customers that is made, as `benchmarks.compare_tables` asks `deqlab compare` about.

One in twenty churns. It has what tables of users have: names, dates, texts, numbers with commas for
thousands, and gaps. How likely each customer leaves is known, so that the best area under the ROC
curve that any model can have is, too.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

ROWS, SHARE, GAPS = 2_000, 0.05, 0.05

LEAK = "account_closed"
"""The target by another name, which nobody knows before a customer has left."""


def churn(seed: int = 0) -> tuple[pd.DataFrame, float]:
    """Return the table, and the area under the ROC curve of the true probabilities."""
    draw = np.random.default_rng(seed)
    days = draw.integers(0, 5 * 365, ROWS)
    tickets, age = draw.poisson(1.5, ROWS), draw.integers(18, 80, ROWS)
    spend = np.round(np.exp(draw.normal(6, 1, ROWS)), 2)
    plan = draw.choice(["basic", "plus", "pro"], ROWS, p=[0.5, 0.3, 0.2])
    region = draw.choice(["north", "south", "east", "west"], ROWS)
    logit = (
        0.7 * tickets
        + 1.2 * (plan == "basic")
        + 1.0 * (days > 4 * 365)  # the newest leave most
        - 0.4 * np.log(spend)
        + 0.0015 * (age - 45) ** 2  # the young and the old
    )
    chance = 1 / (1 + np.exp(-(logit - _offset(logit))))
    leaves = draw.random(ROWS) < chance
    frame = pd.DataFrame(
        {
            "customer": [f"C{number:05d}" for number in range(ROWS)],
            "joined": (pd.Timestamp("2020-01-01") + pd.to_timedelta(days, "D")).strftime(
                "%Y-%m-%d"
            ),
            "plan": plan,
            "region": region,
            "spend": [f"{value:,.2f}" for value in spend],
            "tickets": tickets.astype(float),
            "age": age.astype(float),
            "calls": draw.poisson(4, ROWS).astype(float),  # of no use
        }
    )
    for name in ("plan", "tickets", "age", "calls"):
        frame.loc[draw.random(ROWS) < GAPS, name] = None
    return frame.assign(churn=np.where(leaves, "yes", "no")), roc_auc_score(leaves, chance)


def _offset(logit: np.ndarray) -> float:
    """Return what makes the mean chance SHARE, by bisection."""
    low, high = -50.0, 50.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        share = np.mean(1 / (1 + np.exp(-(logit - middle))))
        low, high = (middle, high) if share > SHARE else (low, middle)
    return low


def write(path: Path, *, leak: bool = False) -> None:
    """Write the table as a user has it, with the planted leak or without."""
    frame, _ = churn()
    if leak:
        frame.insert(4, LEAK, (frame["churn"] == "yes").astype(int))
    frame.to_csv(path, index=False)
