"""The page and the verdict of `sawtooth-loops`.

The claim is on the first sawtooth; it holds if `standing.answer` is yes at each budget, against
FNNs of equal parameters and of equal FLOPs, and partly if it is at some. What is found on the other
sawtooths is told.
"""

from collections.abc import Iterator, Mapping, Sequence

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    number,
    outcome,
    percent,
    seeds_in_words,
    select,
    with_range,
)
from deqlab.experiments.comparing.matching import VIEWS
from deqlab.experiments.expressivity.looped.standing import Arm, answer, arms_at, at_equal
from deqlab.experiments.page import Page, chart, column, table

PAGE = Page(
    charts=(
        chart(
            "point",
            "budget",
            "test_loss",
            title="Test loss against the budget, as trained",
            caption="Loops at their last step, DEQs solved to the end. Every point is a training "
            "of its own; the constant 1/2 scores 0.083.",
            x_label="training steps",
            x_scale="log",
            panel_by="log2_regions",
        ),
        chart(
            "point",
            "budget",
            "solved_loss",
            title="Test loss against the budget, solved to the end",
            caption="The same weights at their equilibrium, or as near to it as the solver came: "
            "the table has the share that converged.",
            x_label="training steps",
            x_scale="log",
            y_label="test loss, solved to the end",
            y_scale="log",
            panel_by="log2_regions",
        ),
        chart(
            "point",
            "test_loss",
            "solved_loss",
            kind="scatter",
            title="As solved against as trained",
            caption="On a line through equal values a network is what it was trained to be: DEQs "
            "are there by their making. Medians over seeds, with the range.",
            x_label="test loss, as trained",
            y_label="test loss, solved to the end",
            y_scale="log",
            panel_by="setting",
        ),
    ),
    tables=(
        table(
            "point",
            "test_loss",
            column("solved_loss", "solved to the end", better="lower"),
            column("converged", "at its equilibrium as trained"),
            column("residual", "median relative residual as trained"),
            column("solved_converged", "converged, solved to the end", format="percent"),
            column("evaluations", "evaluations of f as trained"),
            column("solved_evaluations", "evaluations, solved to the end", format="integer"),
            column("train_converged", "samples converged, train", format="percent"),
            "train_loss",
            "flops_per_step",
            title="As trained and as solved",
            caption="Medians over seeds, with the range. As trained: a loop at its last step, a "
            "DEQ at its equilibrium. Solved to the end: the same weights.",
            by="setting",
        ),
        table(
            "summary",
            "parameters",
            "flops_per_step",
            column("seconds", "time of all trainings"),
            title="What the networks cost",
            caption="FLOPs are those of the gradient of one step at the trained weights; the time "
            "is that of all sawtooths, budgets and learning rates, which train side by side.",
            mark_best=False,
        ),
    ),
)


def verdict(
    rows: Sequence[Row], *, constants: Mapping[int, float], budgets: Sequence[int]
) -> Verdict:
    """Return whether the advantage is one of loops on the first sawtooth, at each budget.

    Args:
        rows: The rows of kind "point" and "summary".
        constants: The loss of the best constant by k, for 2^k regions; the first k is asked for.
        budgets: Numbers of training steps.
    """
    asked = next(iter(constants))
    answers: list[bool | None] = []
    details: list[str] = []
    for k, constant in constants.items():
        for budget in budgets:
            arms = arms_at(rows, k, budget, constant)
            if not arms:
                continue
            found = {view: answer(at_equal(view, arms)) for view in VIEWS}
            if k == asked:
                answers += [each.holds for each in found.values()]
            told = [f"at equal {view} {each.why}" for view, each in found.items()]
            where = f"2^{k} regions, {budget:,} steps"
            details += [f"{where}: {what}." for what in (*told, *_told(arms))]
    last = arms_at(rows, asked, budgets[-1], constants[asked])
    if not last:
        return Verdict(outcome="undecided", sentence="No arm has been trained.", details=())
    count = len({row["seed"] for row in select(rows)})
    whys = [f"at equal {view} {answer(at_equal(view, last)).why}" for view in VIEWS]
    sentence = (
        f"On a sawtooth of 2^{asked} linear regions, {budgets[-1]:,} steps, over "
        f"{seeds_in_words(count)}: {'; '.join(_best(last))}; a constant has "
        f"{number(constants[asked])}. So {', and '.join(whys)}."
    )
    decided = [found for found in answers if found is not None]
    return Verdict(
        outcome=outcome([found is True for found in answers] if decided else []),
        sentence=sentence,
        details=tuple(details),
    )


def _best(arms: Sequence[Arm]) -> Iterator[str]:
    """Yield what the best of each family has, in words."""
    loops, deqs, fnns = (
        [arm for arm in arms if arm.family == family] for family in ("loop", "deq", "fnn")
    )
    held = [arm for arm in deqs if arm.held]
    for name, every in (("loop", loops), ("DEQ at its equilibrium", held), ("FNN", fnns)):
        if every:
            yield f"the best {name} is {_scores(min(every, key=Arm.median))}"
    for arm in deqs:
        if not arm.held:
            share = percent(arm.least("converged"))
            yield f"{arm.label} is no DEQ, with {share} of the points at an equilibrium"


def _told(arms: Sequence[Arm]) -> Iterator[str]:
    words = {1: "ahead", 0: "undecided", -1: "behind"}
    for arm in arms:
        if arm.family == "fnn":
            yield f"{_scores(arm)}, of equal {arm.matching}"
            continue
        standing = [
            f"{words[arm.ahead(at_equal(view, arms))]} against FNNs of its {view}" for view in VIEWS
        ]
        yield f"{_scores(arm)}; {', '.join(standing)}"


def _scores(arm: Arm) -> str:
    loss = with_range(arm.losses().values())
    if arm.family == "fnn":
        return f"{arm.label}, test loss {loss}"
    share = percent(arm.least("converged"))
    if arm.family == "deq":
        name = arm.label if arm.held else f"{arm.label}, which is off its equilibrium and no DEQ"
        return f"{name}, test loss {loss}, {share} converged in the worst seed"
    end, solved = with_range(arm.losses("solved_loss").values()), arm.least("solved_converged")
    return (
        f"{arm.label}, test loss {loss} as trained, with {share} of the points at equilibrium, and "
        f"{end} solved to the end, {percent(solved)} converged in the worst seed"
    )
