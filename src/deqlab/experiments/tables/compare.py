"""The comparison as an experiment: what it claims, its page, and the model that it advises."""

from collections.abc import Sequence
from functools import partial

from sklearn.pipeline import Pipeline

from deqlab.experiments.base import Experiment, Row, Verdict
from deqlab.experiments.comparing.evidence import select
from deqlab.experiments.page import Page, chart, column, table
from deqlab.experiments.tables.answer import Scores, judge, scores_of
from deqlab.experiments.tables.arms import search
from deqlab.experiments.tables.config import TablesConfig, table_of
from deqlab.experiments.tables.folds import later, plan, run
from deqlab.experiments.tables.metric import BESIDE, METRICS, metric_of, reason
from deqlab.inputs.table.leaks import warnings_of
from deqlab.tasks.files.tables.classes import shown

COSTS = {
    "flops": "FLOPs of a prediction",
    "parameters": "parameters",
    "model_bytes": "memory: bytes of the saved model",
    "inference_seconds": "seconds for 1,000 predictions",
}
"""What scores are drawn against, and the labels of the axes."""


def experiment_of(config: TablesConfig) -> Experiment[TablesConfig]:
    """Return the comparison on one table.

    Raises:
        DataError: The table cannot be read or understood.
    """
    found = table_of(config)
    target = shown(found.target)
    metric, other = metric_of(found.y), BESIDE.get(metric_of(found.y))
    leaks = tuple(f"{sentence}." for sentence in warnings_of(found))

    def judged(config: TablesConfig, rows: Sequence[Row]) -> Verdict:
        return judge(
            standing(config, rows),
            rows,
            target=target,
            leaks=leaks,
            why=reason(found.y),
            beside=scores_of(rows, other, len(found.y)) if other else None,
        )

    return Experiment(
        name="compare",
        title=f"Who predicts {target} of {found.name} best?",
        claim=f"A DEQ predicts {target} better than explicit networks of equal cost, linear "
        f"models and boosted trees. Understood: {found.description}.",
        source="asked by deqlab compare",
        origin="asked",
        presets={"asked": config},
        page=_page(metric),
        plan=plan,
        later=later,
        run=run,
        judge=judged,
    )


def standing(config: TablesConfig, rows: Sequence[Row]) -> Scores:
    """Return what the arms score."""
    found = table_of(config)
    return scores_of(rows, metric_of(found.y), len(found.y))


def winner(config: TablesConfig, rows: Sequence[Row]) -> Pipeline | None:
    """Return the model to save (see `Scores.saved`), fitted on all rows; None if there is none."""
    found = table_of(config)
    arm = standing(config, rows).saved
    if arm is None:
        return None
    width = next((row["width"] for row in select(rows, arm=arm) if "width" in row), None)
    model = search(arm, found, config, rows=len(found.y), width=width, seed=config.draw)
    best: Pipeline = model.fit(found.x, found.y).best_estimator_
    return best


def _page(metric: str) -> Page:
    label = METRICS[metric]
    against = partial(
        chart,
        "summary",
        y=metric,
        kind="scatter",
        x_scale="log",
        y_label=label,
        caption="Medians over folds, with the range. Models without the number are left out.",
    )
    charts = [
        against(x=field, title=f"{label} against {name}".capitalize(), x_label=name)
        for field, name in COSTS.items()
    ]
    others = {
        "test_accuracy": (column("auc", METRICS["auc"], better="higher"), "test_loss"),
        "auc": (
            column("average_precision", "average precision, rarest class", better="higher"),
            "test_accuracy",
            "balanced_accuracy",
            "test_loss",
        ),
        "r2": ("rmse",),
    }
    quality = table(
        "summary",
        column(metric, label, better="higher"),
        *others[metric],
        "seconds",
        title="How well each model predicts",
        caption="On rows that were not trained on: medians over folds, with the range. What is "
        "called a seed here is a fold. Training time is that of the search of settings, too.",
    )
    costs = table(
        "summary",
        "parameters",
        column("flops", "FLOPs, prediction"),
        "flops_per_step",
        column("model_bytes", "saved model", format="bytes", better="lower"),
        "peak_memory_bytes",
        column("inference_seconds", "1,000 predictions"),
        title="What each model costs",
        caption="FLOPs are matrix products, of a row; trees compare instead. Peak memory is that "
        "of predicting a fold, and is measured of networks.",
    )
    solves = table(
        "summary",
        column("converged", "test rows at equilibrium"),
        column("evaluations", "evaluations of f", format="integer"),
        "epochs",
        title="How the networks were trained and solved",
        caption="A DEQ off its equilibrium is none.",
    )
    return Page(charts=tuple(charts), tables=(quality, costs, solves))
