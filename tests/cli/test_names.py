"""Names that are told without torch are those that there are."""

import pytest

from deqlab.cli import names
from deqlab.experiments import EXPERIMENTS, GROUPS
from deqlab.experiments.fields import meanings
from deqlab.recipes import RECIPES
from deqlab.workers import BACKENDS

ALL = {**EXPERIMENTS, **RECIPES}


def test_every_name_is_told():
    assert tuple(EXPERIMENTS) == names.RUN
    assert tuple(GROUPS) == names.GROUPS
    assert tuple(RECIPES) == names.TRAIN
    assert tuple(BACKENDS) == names.BACKENDS


def test_every_preset_is_told():
    more = [(preset, name) for name, each in ALL.items() for preset in each.presets]
    more = [(preset, name) for preset, name in more if preset not in names.PRESETS]
    told = [(preset, name) for preset, of in names.MORE_PRESETS.items() for name in of]
    assert sorted(told) == sorted(more)
    for name, each in ALL.items():
        assert set(names.PRESETS) <= set(each.presets), name


CONFIGS = dict.fromkeys(type(each.presets["quick"]) for each in ALL.values())


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_has_a_meaning(config):
    missing = [name for name, meaning in meanings(config).items() if not meaning]
    assert missing == []


def test_a_name_is_completed():
    complete = names.completed(names.RUN, names.GROUPS)
    assert complete("cl") == ["claims"]
    assert complete("steep-d") == ["steep-d10", "steep-d20"]
    assert complete("zzz") == []
