"""Slips in names and presets are told before torch is imported."""

from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from deqlab.cli import early
from deqlab.cli.early import (
    TO_RUN,
    TO_TRAIN,
    UnknownNameError,
    check,
    check_either,
    complete_preset_of,
    more_presets,
)
from deqlab.cli.running import _where


@pytest.mark.parametrize(
    ("kind", "names", "preset", "sentence"),
    [
        (TO_RUN, ["sawtooth-k4"], "quick", "no experiment named 'sawtooth-k4'; did you mean"),
        (TO_RUN, ["memory", "conv-fashion"], "quick", "a recipe: deqlab train conv-fashion"),
        (TO_TRAIN, ["memory"], "quick", "memory is an experiment: deqlab run memory"),
        (TO_TRAIN, ["claims"], "quick", "claims is an experiment: deqlab run claims"),
        (TO_TRAIN, ["sudokku"], "quick", "no recipe named 'sudokku'; did you mean 'sudoku'?"),
        (TO_RUN, ["memory"], "smok", "no preset named 'smok'; did you mean 'smoke'?"),
        (TO_RUN, ["images", "memory"], "mnist", "no preset named 'mnist'; known are smoke"),
        (TO_RUN, ["claims"], "deep", "no preset named 'deep'; known are smoke"),
    ],
)
def test_a_slip_is_told(kind, names, preset, sentence):
    with pytest.raises(UnknownNameError, match=sentence.replace("?", r"\?")):
        check(kind, names, preset)


def test_what_there_is_passes(monkeypatch):
    check(TO_RUN, ["images", "mine:THING"], "mnist")
    check(TO_RUN, ["claims", "memory"], "full")
    check(TO_TRAIN, ["sudoku"], "gradients")
    check(TO_TRAIN, [], "quick")
    point = EntryPoint("of-theirs", "mine:THING", "deqlab.experiments")
    found = {"deqlab.experiments": [point], "deqlab.recipes": []}
    monkeypatch.setattr(early, "entry_points", lambda *, group: found[group])
    check(TO_RUN, ["of-theirs"], "their-preset")
    for name in ("of-theirs", "memory", "claims", "sudoku", "mine:THING"):
        check_either(name)
    with pytest.raises(UnknownNameError, match="of-theirs is an experiment"):
        check(TO_TRAIN, ["of-theirs"], "quick")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("kind", "typed", "begun", "completed"),
    [
        (TO_RUN, ["images"], "", ["smoke", "quick", "full", "mnist"]),
        (TO_RUN, ["images", "memory"], "", ["smoke", "quick", "full"]),
        (TO_RUN, ["mine:THING"], "m", ["mnist"]),
        (TO_TRAIN, ["sudoku"], "g", ["gradients"]),
        (TO_TRAIN, [], "m", ["modes"]),
    ],
)
def test_presets_are_completed_by_the_command_and_its_names(kind, typed, begun, completed):
    complete = complete_preset_of(kind)
    assert complete(SimpleNamespace(params={"names": None}, args=typed), begun) == completed
    assert complete(SimpleNamespace(params={"names": typed}, args=[]), begun) == completed


def test_help_tells_of_the_presets_of_the_command():
    told = more_presets(TO_RUN)
    assert told == "mnist (images), deep (open-sawtooth), cifar10 (matched-networks)"
    assert "deep (language)" in more_presets(TO_TRAIN)


def test_the_end_of_a_command_says_where_its_results_lie():
    runs = [Path("runs") / name for name in ("a", "b c", "d", "e")]
    assert _where(runs[:1], Path("runs")).endswith(
        "; deqlab report runs/a writes a page about them."
    )
    assert "Results are in runs/a 'runs/b c';" in _where(runs[:2], Path("runs"))
    assert "Results are in runs;" in _where(runs, Path("runs"))
