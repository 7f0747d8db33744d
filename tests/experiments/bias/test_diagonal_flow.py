"""diagonal-flow at a small size: its arms start equal, and its verdict can fail."""

from dataclasses import replace

import pytest

from deqlab.bias.descent import FIT
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.bias.diagonal_flow import DiagonalFlowConfig

EXPERIMENT = EXPERIMENTS["diagonal-flow"]


@pytest.fixture(scope="module")
def rows():
    config = EXPERIMENT.presets["smoke"]
    return [
        {"arm": job.arm, "seed": job.seed, **row}
        for job in EXPERIMENT.plan(config, [])
        for row in EXPERIMENT.run(config, job)
    ]


@pytest.mark.slow
def test_the_numbers_of_the_theory_come_out_at_the_usual_starts():
    config = replace(EXPERIMENT.presets["quick"], seeds=(0,), scales=(1.0,), max_steps=1)
    found = {}
    for job in EXPERIMENT.plan(config, []):
        *_, last = EXPERIMENT.run(config, job)
        found[job.arm] = round(last["usual_density"], 3)
    assert found == {"deq": 0.915, "gated": 0.436, "linear": 0.669, "net": 0.314}


def test_the_rows_hold_what_the_theorem_says(rows):
    for row in rows:
        if row["kind"] == "summary":
            assert row["kkt"] < 1e-6
            assert row["prediction_error"] < 1e-6
            assert ("drift" in row) == (row["arm"] in ("gated", "net"))
            assert row.get("drift", 0) < 1e-8
            if row["arm"] in ("deq", "gated"):
                assert row["trained_error"] < 0.01
                assert row["closed_form_error"] < 1e-4
                assert row["trained_fit"] <= FIT
                assert row["converged"] == 1


def test_the_verdict_sees_each_failure(rows):
    config = EXPERIMENT.presets["smoke"]

    def judge(summary=None, point=None):
        changes = {"summary": summary or {}, "point": point or {}}
        return EXPERIMENT.judge(
            config,
            [row | changes[row["kind"]].get(row["arm"], {}) for row in rows],
        )

    dense = {"deq": {"density": 0.99}}
    assert judge().outcome == "holds partly"
    assert "0 of 2 scales" in judge().sentence
    assert judge(point=dense).outcome == "holds"
    for change in (
        {"deq": {"kkt": 1e-3}},
        {"linear": {"prediction_error": 0.02}},
        {"gated": {"drift": 1e-6}},
        {"gated": {"trained_error": 0.02}},
        {"deq": {"converged": 0.5}},
    ):
        verdict = judge(summary=change, point=dense)
        assert verdict.outcome == "does not hold here"
        assert "closed form fails" in verdict.sentence
    sparse = judge(summary={"deq": {"usual_density": 0.1}}, point=dense)
    assert sparse.outcome == "holds partly"
    assert "not the densest" in sparse.sentence
    tied = judge(point={"deq": {"density": 0.99}, "net": {"density": 0.99}})
    assert tied.outcome == "holds partly"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"samples": 20}, "samples must be below features"),
        ({"scales": ()}, "scales needs increasing numbers"),
        ({"scales": (0.01,)}, r"from 0\.1 to 100, got \[0\.01\]"),
        ({"scales": (2.0, 1.0)}, "scales needs increasing numbers"),
        ({"share": 0.0}, "share must be in"),
        ({"seeds": ()}, "seeds needs at least one"),
    ],
)
def test_a_config_outside_its_domain_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(DiagonalFlowConfig(), **changes)
