"""The pages of docs/evidence: one for each claim, from its run, and the table before them.

    python -m benchmarks.evidence

Reads the runs of `benchmarks.claims`; writes docs/evidence/NAME.md with the verdict, what it rests
on and the command, a forest plot for each comparison, and docs/evidence/index.md with all verdicts.
"""

import math
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from benchmarks import claims, figures
from benchmarks.tables import markdown
from deqlab.intervals import Interval
from deqlab.report.arms import arms_of
from deqlab.report.rows import Run

DOCS = Path(__file__).parent.parent / "docs"
OUTCOMES = {
    "Win": "the DEQ is better",
    "Loss": "the rival is better",
    "Tie": "tie",
    "Neither": "neither learns",
}
"""How the sentences of a verdict begin, one for each rival."""


def index(runs: list[Run]) -> str:
    """Return the page that all verdicts stand on."""
    head = (DOCS / "evidence" / "index.md.in").read_text(encoding="utf-8")
    names = "\n".join("{0} <{0}>".format(run.config["experiment"]) for run in runs)
    table = markdown([["claim", "whose", "verdict"], *map(_line, runs)])
    return head.replace("{verdicts}", f"{claims.tally(runs)}\n\n{table}").replace("{names}", names)


def _line(run: Run) -> list[str]:
    name, claim = run.config["experiment"], short(run)
    assert run.verdict is not None
    return [f"[{name}]({name}.md): {claim}", run.config["origin"], f"**{run.verdict.outcome}**"]


def short(run: Run) -> str:
    """Return the claim, cut after a hundred characters at a word."""
    claim = run.config["claim"]
    text = claim if len(claim) <= 130 else claim[:130].rpartition(" ")[0] + " ..."
    return text.replace("*", r"\*")


def page(run: Run) -> str:
    """Return the page of one claim."""
    config, verdict = run.config, run.verdict
    assert verdict is not None
    name = config["experiment"]
    lines = [f"# {config['title']}", "", f"> {_plain(config['claim'])}", ""]
    lines += [f"Whose claim: {config['origin']}. {config['source']}", ""]
    lines += [f"**{verdict.outcome.capitalize()}.** {_plain(verdict.sentence)}", ""]
    if claims.is_comparison(run):
        lines += [
            f"![Each network against the DEQ, with intervals](../figures/evidence-{name}.svg)"
        ]
        lines += ["", markdown(table(run)), ""]
    else:
        lines += [*(f"- {_plain(detail)}" for detail in verdict.details), ""]
    seeds = len({job.seed for job in run.jobs})
    lines += ["```bash", f"deqlab run {name} --preset {config['preset']} --out runs/{name}", "```"]
    lines += ["", f"{seeds} seeds; the rows lie in `benchmarks/results/claims/{name}`."]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("*", r"\*").replace("_", r"\_")


def table(run: Run) -> list[list[str]]:
    """Return a line for each rival: its cost, and how many times the DEQ's its loss is."""
    lines = [["rival", "equal in", "its test loss over the DEQ's", ""]]
    for label, matching, gain, outcome in rivals(run):
        low, middle, high = (math.exp(x) for x in (gain.low, gain.estimate, gain.high))
        lines.append([label, matching, f"{middle:.3g} ({low:.3g} to {high:.3g})", outcome])
    return lines


def rivals(run: Run) -> list[tuple[str, str, Interval, str]]:
    """Return of each network its name, the cost it equals, its gain, and what the verdict says."""
    assert run.verdict is not None
    labels = [arm.label for arm in arms_of(run)[1:]]
    outcomes = [next(word for word in OUTCOMES if text.startswith(word)) for text in _each(run)]
    found = list(claims.gains(run))
    return [
        (label, matching, gain, OUTCOMES[outcome])
        for label, (matching, gain), outcome in zip(labels, found, outcomes, strict=True)
    ]


def _each(run: Run) -> list[str]:
    assert run.verdict is not None
    return [text for text in run.verdict.details if text.startswith(tuple(OUTCOMES))]


def draw(run: Run) -> None:
    """Draw the forest plot of a comparison: a rival a line, filled where it is no tie."""
    found = rivals(run)
    figure, axis = plt.subplots(figsize=(6, 0.36 * len(found) + 1.5), layout="constrained")
    for y, (_, matching, gain, outcome) in enumerate(found):
        colour = "0.55" if outcome == OUTCOMES["Neither"] else claims.COLOURS[matching]
        axis.hlines(y, math.exp(gain.low), math.exp(gain.high), color=colour, linewidth=1.6)
        face = colour if outcome in (OUTCOMES["Win"], OUTCOMES["Loss"]) else "white"
        middle = math.exp(gain.estimate)
        axis.plot(
            middle, y, claims.MARKERS[matching], color=colour, markerfacecolor=face, markersize=7
        )
    axis.axvline(1, color="0.4", linewidth=0.8)
    axis.set(xscale="log", xlabel="test loss over the DEQ's: right of 1 the DEQ is better")
    axis.set_yticks(range(len(found)), [label for label, *_ in found])
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    kinds = [
        Line2D([], [], color=claims.COLOURS[name], marker=marker, label=f"equal {name}")
        for name, marker in claims.MARKERS.items()
    ]
    hollow = Line2D(
        [],
        [],
        color="0.3",
        marker="o",
        markerfacecolor="white",
        ls="",
        label="tie; grey: neither learns",
    )
    figure.legend(handles=[*kinds, hollow], loc="outside upper center", ncols=2, frameon=False)
    figures.save(figure, f"evidence-{run.config['experiment']}.svg")


def pages(runs: list[Run]) -> dict[Path, str]:
    """Return all pages by their files."""
    folder = DOCS / "evidence"
    found = {folder / f"{run.config['experiment']}.md": page(run) for run in runs}
    return {folder / "index.md": index(runs), **found}


def main() -> None:
    """Write pages and pictures."""
    runs = claims.read()
    for file, text in pages(runs).items():
        file.write_text(text, encoding="utf-8")
    for run in filter(claims.is_comparison, runs):
        draw(run)


if __name__ == "__main__":
    main()
