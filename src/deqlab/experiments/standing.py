"""Whether a run may judge the claim of its experiment.

A claim is about the settings of the presets, over seeds. A run with other settings measures
something else, a smoke run shows that everything runs, and below three seeds no interval says how
much of a difference is chance. Such runs tell what they measured, and judge nothing. What a user
asks of data of their own (the preset "asked") has the settings that it was asked with.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from deqlab.experiments.config import Config
from deqlab.runs.records import Verdict

LEAST_SEEDS = 3
"""Seeds below which nothing is judged."""

SMOKE, ASKED = "smoke", "asked"
"""Presets: one that judges nothing, and one that is always its own claim."""


def changed(config: Config, preset: Config) -> dict[str, Any]:
    """Return the fields of `config` that `preset` has other values of, with those of `preset`.

    Seeds are not among them: more of them ask the same question.
    """
    mine, usual = asdict(config), asdict(preset)
    return {name: value for name, value in usual.items() if name != "seeds" and mine[name] != value}


def judged(verdict: Verdict, config: Config, presets: Mapping[str, Config]) -> Verdict:
    """Return `verdict`, or what it measured without an outcome where the run may judge nothing.

    Args:
        verdict: What follows from the rows.
        config: The settings of the run.
        presets: Those of its experiment, by name.
    """
    reason = _reason(config, presets)
    if reason is None:
        return verdict
    contest = verdict.contest
    if contest is not None and len(config.seeds) < LEAST_SEEDS:
        contest = replace(contest, advice=reason)  # nor does anything follow from it
    details = (reason, *verdict.details)
    return replace(verdict, outcome="not judged", details=details, contest=contest)


def _reason(config: Config, presets: Mapping[str, Config]) -> str | None:
    if ASKED in presets:
        return None
    same = [name for name, preset in presets.items() if not changed(config, preset)]
    if same == [SMOKE]:
        return "Not judged: a smoke run shows that everything runs, and nothing else."
    if len(config.seeds) < LEAST_SEEDS:
        count = "one seed" if len(config.seeds) == 1 else f"{len(config.seeds)} seeds"
        return f"Not judged: {count}, and a verdict needs {LEAST_SEEDS} at least."
    if not same:
        return "Not judged: the claim is about other settings than those of this run."
    return None
