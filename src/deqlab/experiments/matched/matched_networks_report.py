"""The page and the verdict of `matched-networks`: accuracies at equal width, paired by seed.

With d_s the matched network's accuracy less the DEQ's at seed s, the two agree at a width if

    |mean d_s| <= sd(d_s) / sqrt(S),

one standard error over the S seeds. The claim holds if they agree at every width in both
families, holds partly if at half of them or more, and fails otherwise. Networks that are equally
accurate agree in about two cases of three only, by chance: the sentence gives the count, and the
details the differences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import by_seed, median_of, outcome, select
from deqlab.experiments.matched.arms import ACTIVATIONS, Role
from deqlab.experiments.page import Page, chart, column, table

PAGE = Page(
    charts=(
        chart(
            "point",
            "width",
            "test_accuracy",
            title="Test accuracy against width",
            caption="A readout on frozen random layers. A DEQ that is not at its equilibrium on "
            "99 % of the images has no accuracy here.",
            panel_by="family",
        ),
        chart(
            "point",
            "width",
            "inference_seconds",
            title="Time of a forward pass against width",
            caption="All test images, from input to output, the solve of the DEQ included; medians "
            "of passes in turns with the DEQ of that width, on a machine that may have been busy.",
            panel_by="family",
        ),
    ),
    tables=(
        table(
            "point",
            "test_accuracy",
            "train_loss",
            column("inference_seconds", "time of a pass", better=None),
            column("speedup", "times as fast as the DEQ"),
            column("flops", "FLOPs per image", better=None),
            title="Accuracy and cost at each width",
            caption="FLOPs: of the random layers for one image, all iterations of the DEQ "
            "included.",
            by="width",
            mark_best=False,
        ),
        table(
            "summary",
            "kernel_error",
            column("kernel_error_scaled", "at the best scale"),
            column("train_samples", "training images", format="integer"),
            column("test_samples", "test images", format="integer"),
            title="How far the kernels are from the DEQ's",
            caption="|G - G_deq| / |G_deq|, exact conjugate kernels of infinite width on training "
            "images, in the spectral norm. At the best scale: with G times the number that brings "
            "it nearest, which another learning rate makes up for.",
        ),
        table(
            "point",
            "converged",
            column("residual", "median relative residual"),
            "residual_max",
            "evaluations",
            title="How well the equilibria were solved",
            caption="Training and test images.",
            by="width",
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A network against the DEQ of its family and width, over seeds.

    Attributes:
        family: The family of activations.
        width: The width of both.
        mean: The mean of its accuracy less the DEQ's.
        error: One standard error of that mean.
        speedup: How many times as fast as the DEQ it is, in the median.
    """

    family: str
    width: int
    mean: float
    error: float
    speedup: float

    @property
    def agrees(self) -> bool:
        """Whether the accuracies differ by one standard error at most."""
        return abs(self.mean) <= self.error

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f} ± {100 * self.error:.2f} at width {self.width}"


def verdict(rows: Sequence[Row], *, subject: str) -> Verdict:
    """Compare the matched networks, and the plain ones, with the DEQs.

    Args:
        rows: The rows of kind "point" and "summary".
        subject: Which data, in words.
    """
    matched, plain = list(gaps(rows, "matched")), list(gaps(rows, "plain"))
    if not matched:
        return Verdict(
            outcome="undecided",
            sentence=f"{subject}, no DEQ was at its equilibrium for two seeds of the same width, "
            "which a standard error needs.",
            details=tuple(_unsolved(rows)),
        )
    agreeing = sum(gap.agrees for gap in matched)
    widest = [gap for gap in matched if gap.width == max(one.width for one in matched)]
    speeds = [gap.speedup for gap in matched]
    sentence = (
        f"{subject}, the accuracy of the matched network lies within one standard error of the "
        f"DEQ's in {agreeing} of {len(matched)} cases (families and widths); it differs by "
        f"{_largest(matched)} percentage points at most, and by {_largest(widest)} at width "
        f"{widest[0].width}; that of the plain network by {_largest(plain)}. The matched "
        f"network is {min(speeds):.1f} to {max(speeds):.1f} times as fast as the DEQ."
    )
    return Verdict(
        outcome=outcome([gap.agrees for gap in matched], enough=(len(matched) + 1) // 2),
        sentence=sentence,
        details=(*_details(rows, {"matched": matched, "plain": plain}), *_unsolved(rows)),
    )


def gaps(rows: Sequence[Row], role: Role) -> Iterator[Gap]:
    """Yield the networks of a role against the DEQs, where two seeds or more allow it."""
    for family in ACTIVATIONS:
        own, deq = _arm(family, role), _arm(family, "deq")
        for width in sorted({row["width"] for row in select(rows, "point", arm=own)}):
            ours, theirs, speedups = (
                by_seed(rows, field, kind="point", arm=arm, width=width)
                for field, arm in (
                    ("test_accuracy", own),
                    ("test_accuracy", deq),  # null, and left out, where it is off its equilibrium
                    ("speedup", own),
                )
            )
            both = ours.keys() & theirs.keys()
            if len(both) < 2:
                continue
            gains = [ours[seed] - theirs[seed] for seed in ours if seed in both]
            yield Gap(
                family=family,
                width=width,
                mean=fmean(gains),
                error=stdev(gains) / len(gains) ** 0.5,
                speedup=median(speedups[seed] for seed in both),
            )


def _arm(family: str, role: Role) -> str:
    return f"{family.lower()}-{role}"


def _largest(every: Sequence[Gap]) -> str:
    return f"{100 * max(abs(gap.mean) for gap in every):.2f}"


def _details(rows: Sequence[Row], by_role: dict[str, list[Gap]]) -> Iterator[str]:
    for family in ACTIVATIONS:
        for role, every in by_role.items():
            shown = [gap for gap in every if gap.family == family]
            if shown:
                speeds = ", ".join(f"{gap.speedup:.1f}" for gap in shown)
                error, scaled = (
                    median_of(rows, field, family=family, role=role)
                    for field in ("kernel_error", "kernel_error_scaled")
                )
                yield (
                    f"{family}, {role} less DEQ, in percentage points of test accuracy with one "
                    f"standard error: {', '.join(map(str, shown))}; {speeds} times as fast; its "
                    f"kernel is off by {error:.2g} of the DEQ's, {scaled:.2g} at the best scale."
                )
    yield (
        "Two networks that are equally accurate lie within one standard error of each other in "
        "about two cases of three."
    )


def _unsolved(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence about the DEQs that are none."""
    for family in ACTIVATIONS:
        points = select(rows, "point", arm=_arm(family, "deq"), test_accuracy=None)
        lost = sorted((row["width"], row["seed"]) for row in points)
        if lost:
            where = ", ".join(f"width {width} at seed {seed}" for width, seed in lost)
            yield f"{family}: not at its equilibrium, and left out, is the DEQ of {where}."
