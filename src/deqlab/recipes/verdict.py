"""What a recipe shows, and its verdict: did the DEQ stay one, and what was it worth?"""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    WELL_SOLVED,
    arms_of,
    by_seed,
    interval,
    least_converged,
    outcome,
    percent,
    seeds_in_words,
    select,
    with_range,
)
from deqlab.experiments.page import Page, chart, column, table
from deqlab.intervals import paired_interval
from deqlab.recipes.config import ImageConfig

PAGE = Page(
    charts=(
        chart(
            "step",
            "step",
            "test_accuracy",
            title="Learning curves",
            caption="Test accuracy while training, DEQs solved to rtol 1e-2.",
        ),
        chart(
            "step",
            "step",
            "train_converged",
            title="Samples at their equilibrium while training",
            caption="The share of the samples whose solves converged, in the worst layer. Below "
            "99 % the network that is trained is no DEQ.",
        ),
        chart(
            "step",
            "step",
            "rate",
            title="The rate of the solves",
            caption="The factor by which residuals fall in a step, the median sample. The "
            "controller turns the feedback down where it is above its target.",
        ),
        chart(
            "step",
            "step",
            "evaluations",
            title="What the equilibrium costs",
            caption="Evaluations of f per forward solve while training.",
        ),
    ),
    tables=(
        table(
            "summary",
            "test_accuracy",
            "test_loss",
            column("converged", "test samples converged"),
            column("test_evaluations", "evaluations of f, test"),
            column("evaluations", "evaluations of f, train"),
            column("adjoint_products", "adjoint products, train"),
            "parameters",
            "flops_per_step",
            "seconds",
            title="What was reached, and what it cost",
            caption="Medians over seeds, with the range. Converged: to rtol 1e-2 in at most 40 "
            "steps. Seconds are of training alone, on a machine that may have been busy.",
        ),
        table(
            "certificate",
            column("proved", format="text"),
            column("margin", "margin"),
            column("lipschitz", "Lipschitz bound"),
            column("perturbation", "change of weights that it survives"),
            by="when",
            title="What is proved of the DEQ",
            caption="Of every input, by a theorem; the rows of the run name it. Not proved is not "
            "ill-posed.",
            mark_best=False,
        ),
        table(
            "feedback",
            "test_accuracy",
            by="iterate",
            title="How much comes from the feedback",
            caption="Test accuracy of the trained DEQ after so many evaluations of f from its "
            "start, and at its equilibrium. Where few of them suffice, it is nearly explicit.",
            mark_best=False,
        ),
    ),
)


def judge(config: ImageConfig, rows: Sequence[Row], *, margin: float | None) -> Verdict:
    """Return whether the DEQ stays at its equilibrium, and is not beaten by more than `margin`.

    Args:
        config: The config, which names the data set.
        rows: The rows of all arms.
        margin: By how much the median accuracy of a twin may be higher; None promises no order.
    """
    solved = least_converged(rows)
    ours = by_seed(rows, "test_accuracy", arm="deq", missing=0.0)
    deqs = select(rows, arm="deq")
    evaluations = [row["test_evaluations"] for row in deqs]
    parts, details = [True], []  # it is at its equilibrium, or `outcome` decides nothing
    for arm, row in arms_of(rows).items():
        if arm == "deq":
            continue
        theirs = by_seed(rows, "test_accuracy", arm=arm, missing=0.0)
        ahead = median(ours.values()) - median(theirs.values())
        gain = paired_interval([ours[seed] - theirs[seed] for seed in theirs])
        if margin is not None:
            parts.append(ahead >= -margin)
        details.append(
            f"{row['label']}: "
            f"{with_range(list(theirs.values()), _percent, unit=' %')}; DEQ less twin "
            f"{_points(gain.estimate)} points{interval(gain, _points)}."
        )
    slipped = sum(row.get("slips", 0) for row in deqs)
    details.append(f"Its log saw {slipped} windows of steps in which too few samples converged.")
    where = "at its equilibrium" if solved >= WELL_SOLVED else "OFF its equilibrium: it is no DEQ"
    reached = with_range(list(ours.values()), _percent, unit=" %")
    sentence = (
        f"On {config.dataset}, the DEQ reaches {reached} over {seeds_in_words(len(ours))} with "
        f"{percent(solved)} of the test samples converged (in the worst seed) in "
        f"{median(evaluations):.3g} evaluations, {where}."
    )
    return Verdict(outcome=outcome(parts, solved=solved), sentence=sentence, details=tuple(details))


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"
