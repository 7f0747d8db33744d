"""The page and the verdict of `stabilisers`."""

from collections.abc import Sequence

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    WELL_SOLVED,
    by_seed,
    outcome,
    percent,
    seeds_in_words,
    select,
    with_range,
)
from deqlab.experiments.page import Page, chart, column, table
from deqlab.intervals import paired_interval

OURS = "rate control"

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
    """Return whether rate control holds in both settings, and whether a regulariser beats it.

    One beats it that holds the equilibrium as well, at a loss that is lower beyond the spread over
    seeds.
    """
    settings = list(dict.fromkeys(row["setting"] for row in select(rows)))
    held, best, details = [], [], []
    for setting in settings:
        found = {
            row["stabiliser"]: by_seed(
                rows,
                "test_loss",
                setting=setting,
                stabiliser=row["stabiliser"],
                missing=float("inf"),
            )
            for row in select(rows, setting=setting)
        }
        shares = {name: _share(rows, setting, name) for name in found}
        ours = found[OURS]
        rivals = [n for n in found if OURS not in n and shares[n] >= WELL_SOLVED]
        better = [
            name
            for name in rivals
            if paired_interval([ours[seed] - loss for seed, loss in found[name].items()]).sign > 0
        ]
        held.append(shares[OURS] >= WELL_SOLVED)
        best.append(held[-1] and not better)
        details += [
            f"{setting}: with {OURS} {percent(shares[OURS])} of the test samples are at their "
            f"equilibrium (in the worst seed), at a loss of {with_range(ours.values())}; with "
            f"nothing {percent(shares['nothing'])}.",
            f"{setting}: of the others these hold 99 %: "
            + ("; ".join(f"{n}, loss {with_range(found[n].values())}" for n in rivals) or "none")
            + (f". Lower than that of {OURS}: {', '.join(better)}." if better else "."),
        ]
    count = len({row["seed"] for row in select(rows)})
    sentence = (
        f"Rate control holds the equilibrium in {sum(held)} of {len(settings)} settings over "
        f"{seeds_in_words(count)}, and no other that does so has a lower loss in {sum(best)}."
    )
    return Verdict(outcome=outcome(best), sentence=sentence, details=tuple(details))


def _share(rows: Sequence[Row], setting: str, stabiliser: str) -> float:
    """Return the share of test samples at their equilibrium in the worst seed."""
    shares = by_seed(rows, "converged", setting=setting, stabiliser=stabiliser, missing=0.0)
    return min(shares.values())
