"""A verdict only where the settings are the claim's own, and seeds enough to tell chance."""

from dataclasses import dataclass

import pytest

from deqlab.experiments.config import Config
from deqlab.experiments.standing import changed, judged
from deqlab.runs.records import Verdict


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    width: int = 10
    depths: tuple[int, ...] = (1, 2)


PRESETS = {"smoke": Settings(width=4, seeds=(0,)), "quick": Settings(), "full": Settings(width=20)}
HOLDS = Verdict(outcome="holds", sentence="It holds.", details=("By a lot.",))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (Settings(), None),
        (Settings(seeds=tuple(range(9))), None),
        (Settings(width=20), None),  # as in another preset
        (Settings(width=4), "smoke run"),
        (Settings(width=30), "other settings"),
        (Settings(depths=(1,)), "other settings"),
        (Settings(seeds=(0, 1)), "2 seeds, and a verdict needs 3"),
        (Settings(seeds=(7,)), "one seed"),
    ],
)
def test_a_run_judges_only_what_the_claim_is_about(config, why):
    found = judged(HOLDS, config, PRESETS)
    if why is None:
        assert found == HOLDS
    else:
        assert found.outcome == "not judged"
        assert why in found.details[0]
        assert (found.sentence, found.details[1:]) == (HOLDS.sentence, HOLDS.details)


def test_what_users_ask_of_their_own_data_is_judged_as_asked():
    assert judged(HOLDS, Settings(seeds=(0,)), {"asked": Settings(seeds=(0,))}) == HOLDS


def test_changed_fields_are_told_with_what_the_preset_has():
    config = Settings(width=30, depths=(3,), seeds=(5,))
    assert changed(config, PRESETS["quick"]) == {"width": 10, "depths": (1, 2)}
    assert changed(Settings(seeds=(5,)), PRESETS["quick"]) == {}
