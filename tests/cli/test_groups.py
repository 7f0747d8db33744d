"""Experiments by name, and groups of them."""

import json
from dataclasses import replace
from typing import get_args

import pytest

from deqlab.cli import early
from deqlab.cli.commands import _members, run
from deqlab.experiments import EXPERIMENTS, GROUPS, SEPARATION
from deqlab.experiments.base import Origin
from deqlab.experiments.config import UsageError
from deqlab.tasks import DataError

CLAIMS = [experiment.name for experiment in SEPARATION]


def test_the_claims_are_the_figures_of_the_paper_and_what_they_rest_on():
    assert len(CLAIMS) == len(set(CLAIMS))
    sources = " ".join(experiment.source for experiment in SEPARATION)
    for figure in (
        "1(a)",
        "1(b)",
        "1(c, f)",
        "1(d)",
        "1(e)",
        "Figure 2",
        "Figure 3",
        "Figure 4",
        "Figure 6",
    ):
        assert figure in sources
    assert "Table 1" in sources


@pytest.mark.parametrize(
    ("names", "members"),
    [
        (["claims"], CLAIMS),
        (["claims", "claims"], CLAIMS),
        (["claims", "gotu-f1"], CLAIMS),
        (["claims", "memory"], [*CLAIMS, "memory"]),
        (["memory", "claims"], ["memory", *CLAIMS]),
        (["gotu-f1", "claims"], ["gotu-f1", *(name for name in CLAIMS if name != "gotu-f1")]),
        (["memory", "images", "memory"], ["memory", "images"]),
    ],
)
def test_a_group_stands_for_its_members_each_once(names, members):
    assert _members(names) == members


def test_every_member_of_a_group_is_an_experiment_and_no_group_has_the_name_of_one():
    for name, members in GROUPS.items():
        assert name not in EXPERIMENTS
        assert set(members) <= set(EXPERIMENTS)


@pytest.mark.parametrize("names", [["clams"], ["claims", "clams"], ["memory", "clams"]])
def test_a_name_that_is_neither_is_refused_with_the_closest(names):
    with pytest.raises(UsageError, match="no experiment named 'clams'; did you mean 'claims'"):
        _members(names)


def test_what_cannot_run_here_is_left_out_of_a_group_and_refused_by_name(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setitem(GROUPS, "few", ("memory", "images"))
    few = replace(early.TO_RUN, names=(*early.TO_RUN.names, "few"))
    monkeypatch.setattr(early, "TO_RUN", few)
    settings = {"preset": "smoke", "settings": ["seeds=0"], "out": tmp_path}
    monkeypatch.setitem(EXPERIMENTS, "images", on_mnist(EXPERIMENTS["images"]))
    run(["few"], **settings)
    assert (tmp_path / "memory" / "verdict.json").exists()
    assert not (tmp_path / "images").exists()
    assert "deqlab: images is left out: " in capsys.readouterr().err
    with pytest.raises(DataError, match="nowhere"):
        run(["few", "images"], **settings)


def on_mnist(images):
    """The same experiment, on data that is not bundled."""
    smoke = replace(images.presets["smoke"], dataset="mnist")
    return replace(images, presets={"smoke": smoke})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_config_json_says_whose_claim_it_is(name):
    experiment = EXPERIMENTS[name]
    for preset, config in experiment.presets.items():
        found = json.loads(json.dumps(experiment.describe(config, preset)))
        assert found["origin"] == experiment.origin
        assert found["origin"] in get_args(Origin)
        assert (found["experiment"], found["preset"]) == (name, preset)
        assert found["source"]
        assert found["claim"].endswith(".")
