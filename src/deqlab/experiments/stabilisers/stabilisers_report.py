"""The page and the verdict of `stabilisers`."""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    WELL_SOLVED,
    by_seed,
    number,
    outcome,
    percent,
    seeds_in_words,
    select,
    with_range,
)
from deqlab.experiments.page import Page, chart, column, table

SHARES = chart(
    "step",
    "step",
    "train_converged",
    title="Samples at their equilibrium while training",
    caption="The share of the samples whose solves converged since the last point.",
    panel_by="setting",
)

LOSSES = chart(
    "step",
    "step",
    "test_loss",
    title="Learning curves",
    caption="Test loss, solved to rtol 1e-2 in at most 40 steps.",
    panel_by="setting",
)

PAGE = Page(
    charts=(SHARES, LOSSES),
    tables=(
        table(
            "summary",
            "converged",
            "test_loss",
            "test_accuracy",
            column("test_evaluations", "evaluations of f, test"),
            column("rate", "rate, train"),
            column("step_seconds", "time of a step", format="seconds"),
            title="What each stabiliser keeps, and what it costs",
            caption="Medians over seeds, with the range. Converged: test samples, to rtol 1e-2 in "
            "at most 40 steps. A network below 99 % is no DEQ, whatever its loss is.",
        ),
    ),
)


def judge(config: object, rows: Sequence[Row]) -> Verdict:
    """Return whether rate control holds in both settings, and whether a regulariser beats it."""
    settings = list(dict.fromkeys(row["setting"] for row in select(rows)))
    parts, details = [], []
    for setting in settings:
        ours = f"{setting}: rate control"
        holds = _share(rows, ours) >= WELL_SOLVED
        loss = _loss(rows, ours)
        rivals = {
            arm: _loss(rows, arm)
            for arm in dict.fromkeys(row["arm"] for row in select(rows, setting=setting))
            if "control" not in arm and _share(rows, arm) >= WELL_SOLVED
        }
        better = [arm for arm, other in rivals.items() if other < loss]
        parts.append(holds and not better)
        names = ", ".join(arm.partition(": ")[2] for arm in rivals) or "none"
        details += [
            f"{setting}: with rate control {percent(_share(rows, ours))} of the test samples are "
            f"at their equilibrium (in the worst seed), at a loss of {_range(rows, ours)}; with "
            f"nothing {percent(_share(rows, f'{setting}: nothing'))}.",
            f"{setting}: of the others these hold 99 %: {names}."
            + "".join(f" {arm.partition(': ')[2]}: loss {_range(rows, arm)}." for arm in better),
        ]
    count = len({row["seed"] for row in select(rows)})
    held = sum(_share(rows, f"{setting}: rate control") >= WELL_SOLVED for setting in settings)
    sentence = (
        f"Rate control holds the equilibrium in {held} of {len(settings)} settings over "
        f"{seeds_in_words(count)}, and has the lowest loss of all that hold it in {sum(parts)}."
    )
    return Verdict(outcome=outcome(parts), sentence=sentence, details=tuple(details))


def _share(rows: Sequence[Row], arm: str) -> float:
    return min(by_seed(rows, "converged", arm=arm, missing=0.0).values(), default=0.0)


def _loss(rows: Sequence[Row], arm: str) -> float:
    return median(by_seed(rows, "test_loss", arm=arm, missing=float("inf")).values())


def _range(rows: Sequence[Row], arm: str) -> str:
    return with_range(list(by_seed(rows, "test_loss", arm=arm).values()), number)
