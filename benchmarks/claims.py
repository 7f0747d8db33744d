"""The tables and the pictures of docs/when-is-a-deq-worth-it.md.

    python -m benchmarks.claims

Reads the runs under `benchmarks/results/claims` and `open-deep`; prints as Markdown the verdicts
(each claim with its command, whose it is, the outcome, what was measured), errors on the unseen,
what each route to the open problems came to, and, from `sawtooth-loops`, what loops are as trained
and as solved; and writes two SVGs to docs/figures.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from operator import attrgetter
from statistics import median

import torch
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from benchmarks import figures
from benchmarks.tables import RESULTS, markdown
from deqlab.experiments import GROUPS
from deqlab.experiments.comparing.evidence import percent, with_range
from deqlab.experiments.comparing.regression import TEST_LOSS
from deqlab.intervals import Interval, paired_interval
from deqlab.report.arms import Arm, arms_of
from deqlab.report.rows import Job, Run, read_run, rows_of
from deqlab.tasks.boolean import BooleanTask

CLAIMS = RESULTS / "claims"
UNSEEN = tuple(name for name in GROUPS["claims"] if name.startswith("gotu-"))
OPEN = {
    "2^5 linear regions": CLAIMS / "open-sawtooth",
    "2^10 linear regions": RESULTS / "open-deep" / "open-sawtooth",
    "A ramp of slope 2^20": CLAIMS / "open-steep",
}
LOOPS = RESULTS / "sawtooth-loops"
COLOURS = {"parameters": "#1f4fd8", "FLOPs per step": "#c2500a"}
MARKERS = {"parameters": "o", "FLOPs per step": "s"}


def read() -> list[Run]:
    """Return the runs of the group "claims", in the order of the command.

    Raises:
        ReportError: An experiment has no run.
    """
    return [read_run(CLAIMS / name) for name in GROUPS["claims"]]


def claims_table(runs: list[Run]) -> list[list[str]]:
    """Return a line for each claim."""
    return [["claim and command", "whose", "verdict", "measured"], *map(_line, runs)]


def _line(run: Run) -> list[str]:
    claim = f"{_plain(run.config['claim'])} `deqlab run {run.config['experiment']}`"
    if run.verdict is None:
        return [claim, run.config["origin"], "unfinished", ""]
    outcome, measured = f"**{run.verdict.outcome}**", _plain(run.verdict.sentence)
    return [claim, run.config["origin"], outcome, measured]


def _plain(text: str) -> str:
    return text.replace("*", r"\*")  # a product is no emphasis


def tally(runs: list[Run]) -> str:
    """Return how often each verdict was given."""
    outcomes = Counter(run.verdict.outcome for run in runs if run.verdict is not None)
    told = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
    return f"Verdicts of {len(runs)} commands: {told}."


def unseen_table(runs: list[Run]) -> list[list[str]]:
    """Return errors on the unseen, medians over seeds, beside that of a network that says 0."""
    fnns = [f"FNNs of its {name}" for name in COLOURS]
    return [["experiment", "0 everywhere", "DEQ", *fnns], *map(_unseen, runs)]


def _unseen(run: Run) -> list[str]:
    task = {name: run.config["config"][name] for name in ("target", "seen", "num_bits")}
    _, y = BooleanTask(**task).unseen(dtype=torch.float64)
    found = defaultdict(list)
    for arm in arms_of(run):
        matching = arm.jobs[0].summary["matching"]
        found[matching].append(median(_losses(arm.jobs).values()))
    (ours,) = found[None]
    theirs = [f"{min(found[name]):.1f} to {max(found[name]):.1f}" for name in COLOURS]
    return [run.config["experiment"], f"{y.square().mean():.1f}", f"{ours:.1f}", *theirs]


def routes(run: Run) -> str:
    """Return a list in Markdown of what each route to an open problem came to."""
    assert run.verdict is not None
    return "\n".join(f"- {line}" for line in run.verdict.details if line.startswith("Route "))


def loops_table(run: Run) -> list[list[str]]:
    """Return test losses as trained and as solved, on the sawtooth and budget asked for."""
    names = ["", "test loss as trained", "at equilibrium", "solved to the end", "converged"]
    return [names, *(_both_losses(arm) for arm in arms_of(run))]


def _both_losses(arm: Arm) -> list[str]:
    rows = [job.summary for job in arm.jobs]
    trained = with_range([row["test_loss"] for row in rows])
    if rows[0]["family"] == "fnn":
        return [f"{arm.label}, equal {rows[0]['matching']}", trained, "", "", ""]
    solved = with_range([row["solved_loss"] for row in rows])
    shares = (min(row[name] for row in rows) for name in ("converged", "solved_converged"))
    before, after = map(percent, shares)
    return [arm.label, trained, before, solved, after]


def gains(run: Run) -> Iterator[tuple[str, Interval]]:
    """Yield at which cost an FNN matches the DEQ, and the logarithm of how much worse it is."""
    deq, *others = arms_of(run)
    ours = _losses(deq.jobs)
    for arm in others:
        gain = paired_interval(TEST_LOSS.gains(ours, _losses(arm.jobs)))
        yield arm.jobs[0].summary["matching"], gain


def _losses(jobs: Iterable[Job]) -> dict[int, float]:
    return {job.seed: job.summary["test_loss"] for job in jobs}


def is_comparison(run: Run) -> bool:
    """Return whether a DEQ competes with FNNs in test loss, at both costs."""
    return {job.summary["matching"] for job in run.jobs} == {None, *COLOURS}


def draw_gains(runs: list[Run]) -> None:
    """Draw how many times larger the test loss of each FNN is, a line for each experiment."""
    figure, axis = plt.subplots(figsize=(8.4, 0.42 * len(runs) + 1.2), layout="constrained")
    for y, run in enumerate(runs):
        found = list(gains(run))
        for i, (matching, gain) in enumerate(found):
            height = y + 0.6 * ((i + 0.5) / len(found) - 0.5)
            colour = COLOURS[matching]
            axis.hlines(height, math.exp(gain.low), math.exp(gain.high), color=colour, lw=1.4)
            axis.plot(
                math.exp(gain.estimate), height, MARKERS[matching], markersize=3.5, color=colour
            )
    axis.axvline(1, color="0.4", linewidth=0.8)
    label = "test loss of an FNN / of the DEQ: right of 1 the DEQ is better (bars: 96 % intervals)"
    axis.set(xscale="log", xlabel=label)
    axis.set_yticks(range(len(runs)), [run.config["experiment"] for run in runs])
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    lines = [Line2D([], [], color=COLOURS[name], marker=MARKERS[name]) for name in COLOURS]
    names = [f"at equal {name}" for name in COLOURS]
    figure.legend(lines, names, loc="outside upper right", ncols=2, frameon=False)
    figures.save(figure, "claims.svg")


def draw_norms(run: Run) -> None:
    """Draw the largest infinity norm of networks with comparable errors against d, and medians."""
    figure, axis = plt.subplots(figsize=(8.4, 4.2), layout="constrained")
    for arm in sorted(arms_of(run), key=attrgetter("name")):
        norms = norms_of(arm.jobs)
        label = arm.label + ("" if norms else ": never gets there")
        kind, _, depth = arm.name.partition("-")
        number = int(depth[:1] or 0)
        style, colour, marker = "--" if kind == "bound" else "-", f"C{number}", "Dos^v"[number]
        for d, found in norms.items():
            axis.plot([d] * len(found), found, ".", color=colour, alpha=0.5)
        medians = [median(found) for found in norms.values()]
        axis.plot(list(norms), medians, style, label=label, color=colour, marker=marker)
    axis.set(yscale="log", xlabel="d: the step has width 2^-d", ylabel="largest infinity norm")
    axis.set_xticks(run.config["config"]["log2_steepness"])
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    figures.save(figure, "norms.svg")


def norms_of(jobs: Iterable[Job]) -> dict[int, list[float]]:
    """Return the norms of the networks that came within the tolerance, by d."""
    norms = defaultdict(list)
    for row in (row for job in jobs for row in rows_of(job, "point")):
        if row["norm"] is not None:
            norms[row["d"]].append(row["norm"])
    return dict(sorted(norms.items()))


def draw(runs: list[Run]) -> None:
    """Write both pictures."""
    draw_gains([run for run in runs if is_comparison(run)])
    (weights,) = (run for run in runs if run.config["experiment"] == "steep-weights")
    draw_norms(weights)


def main() -> None:
    runs = read()
    draw(runs)
    unseen = [run for run in runs if run.config["experiment"] in UNSEEN]
    print(f"{tally(runs)}\n\n{markdown(claims_table(runs))}")
    print(f"\n{markdown(unseen_table(unseen))}")
    for problem, folder in OPEN.items():
        print(f"\n**{problem}:**\n\n{routes(read_run(folder))}")
    print(f"\n{markdown(loops_table(read_run(LOOPS)))}")


if __name__ == "__main__":
    main()
