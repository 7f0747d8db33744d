"""The published figure's six networks: what their rows hold, and what the verdict makes of them."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.base import Job
from deqlab.experiments.matched.arms import ACTIVATIONS, ARMS, TAU0
from deqlab.experiments.matched.matched_networks import EXPERIMENT, MatchedConfig
from deqlab.experiments.matched.matched_networks_report import verdict
from deqlab.kernels import ExplicitNetwork, NoMatchError
from deqlab.tasks import DataError

SMOKE = EXPERIMENT.presets["smoke"]
MEASURED = ("inference_seconds", "speedup")  # what may differ from run to run


def rows_of(config, arm, seed=0):
    return [
        {"arm": arm, "seed": seed, **row} for row in EXPERIMENT.run(config, Job(arm=arm, seed=seed))
    ]


@pytest.fixture(scope="module")
def rows():
    config = replace(SMOKE, seeds=(0,))
    return [
        row for job in EXPERIMENT.plan(config, []) for row in rows_of(config, job.arm, job.seed)
    ]


def test_it_is_registered_and_plans_six_arms():
    assert EXPERIMENTS["matched-networks"] is EXPERIMENT
    jobs = EXPERIMENT.plan(SMOKE, [])
    assert [(job.arm, job.seed) for job in jobs[:6]] == [(arm, 0) for arm in ARMS]
    assert len(jobs) == 6 * len(SMOKE.seeds)


def test_rows_hold_what_the_figure_needs(rows):
    points = [row for row in rows if row["kind"] == "point"]
    assert [row["width"] for row in points] == [32, 64] * 6
    for row in points:
        assert 0.1 < row["test_accuracy"] <= 1
        assert 0 < row["train_loss"] < 2.31  # that of no readout at all is log 10
        assert row["inference_seconds"] > 0
        assert row["speedup"] > 0
        assert row["flops"] > 0
        solve = {"residual", "residual_max", "converged", "evaluations"}
        assert solve & row.keys() == (solve if row["arm"].endswith("deq") else set())


def test_every_deq_is_at_its_equilibrium(rows):
    for row in rows:
        if row["arm"].endswith("deq"):
            assert row["converged"] == 1
            assert row["residual_max"] <= SMOKE.rtol


def test_flops_are_those_of_the_layers(rows):
    flops = {(row["arm"], row["width"]): row["flops"] for row in rows if row["kind"] == "point"}
    evaluations = {row["width"]: row["evaluations"] for row in rows if row["arm"] == "relu-deq"}
    p = 64
    for m in SMOKE.widths:
        assert flops["relu-matched", m] == flops["relu-plain", m] == 2 * (p * m + m * m)
        assert flops["tanh-matched", m] == flops["tanh-plain", m] == 2 * p * m
        # The solve of the training images may take an evaluation more.
        assert flops["relu-deq", m] <= 2 * (p * m + evaluations[m] * m * m)
        assert flops["relu-deq", m] > 2 * (p * m + 4 * m * m)


def test_summaries_tell_the_arms_apart(rows):
    last = {row["arm"]: row for row in rows if row["kind"] == "summary"}
    assert [row["matching"] for row in last.values()] == [None, "width and kernel", "width"] * 2
    assert len({row["label"] for row in last.values()}) == 6
    for row in last.values():
        assert row["train_samples"] == 10 * SMOKE.train_per_class
        assert row["test_samples"] == 10 * SMOKE.test_per_class
        assert row["extractor_accuracy"] is None


def test_the_matched_kernels_are_much_nearer_than_the_plain_ones(rows):
    error = {row["arm"]: row["kernel_error"] for row in rows if row["kind"] == "summary"}
    assert error["relu-deq"] == error["tanh-deq"] == 0
    # In high dimension: 0 against .67, and 0 against .063; these inputs have 64 dimensions.
    assert error["relu-matched"] < 0.002
    assert error["relu-plain"] == pytest.approx(0.67, abs=0.05)
    assert error["tanh-matched"] < 0.01
    assert error["tanh-plain"] == pytest.approx(0.063, abs=0.01)


def test_a_plain_kernel_is_off_by_its_scale_above_all(rows):
    last = {row["arm"]: row for row in rows if row["kind"] == "summary"}
    for name, row in last.items():
        assert row["kernel_error_scaled"] <= row["kernel_error"]
        if name.endswith("plain"):
            assert 0 < row["kernel_error_scaled"] < 0.2 * row["kernel_error"]


@pytest.mark.parametrize("arm", ["relu-deq", "relu-matched"])
def test_a_job_yields_the_same_rows_twice(arm):
    def steady(row):
        return {name: value for name, value in row.items() if name not in MEASURED}

    config = replace(SMOKE, widths=(32,), epochs=1)
    first, second = (list(map(steady, rows_of(config, arm))) for _ in range(2))
    assert first == second


def test_seeds_differ():
    config = replace(SMOKE, widths=(32,), epochs=1)
    first, second = (rows_of(config, "relu-plain", seed)[0] for seed in (0, 1))
    assert first["train_loss"] != second["train_loss"]


def test_a_deq_that_is_not_solved_has_no_accuracy():
    config = replace(SMOKE, widths=(32,), max_steps=2)
    row, last = rows_of(config, "relu-deq")
    assert row["converged"] == 0
    assert row["test_accuracy"] is None
    assert last["test_accuracy"] is None


def test_the_explicit_networks_have_the_published_depths():
    for name, layers in {
        "relu-matched": 2,
        "relu-plain": 2,
        "tanh-matched": 1,
        "tanh-plain": 1,
    }.items():
        network = ARMS[name].kernel(0.2).network(5, 7, 3, tau0=TAU0)
        assert isinstance(network, ExplicitNetwork)
        assert [weight.shape for weight in network.weights] == [(7, 5), (7, 7)][:layers]


def test_a_deq_without_a_match_is_refused_before_anything_is_written():
    with pytest.raises((NoMatchError, ValueError), match="sigma_a2"):
        EXPERIMENT.check(replace(SMOKE, sigma_a2=3.0))


def test_absent_data_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        EXPERIMENT.check(replace(SMOKE, data="mnist"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (64, 32)}, "widths needs one or more increasing numbers"),
        ({"widths": ()}, "widths needs one or more increasing numbers"),
        ({"data": "svhn"}, "data is one of digits, mnist"),
        ({"solver": "newton"}, "solver is one of anderson, picard"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"kernel_samples": 0}, "kernel_samples must be at least 1"),
    ],
)
def test_fields_outside_their_domain_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MatchedConfig(**changes)


def made_up(matched, plain, *, deq=(0.9, 0.8, 0.7), widths=(32, 128)):
    """Rows of both families in which the arms have these accuracies at seeds 0, 1, 2."""
    accuracies = {"deq": deq, "matched": matched, "plain": plain}
    rows = []
    for family in ACTIVATIONS:
        for role, values in accuracies.items():
            who = {"arm": f"{family.lower()}-{role}", "family": family, "role": role}
            for seed, value in enumerate(values):
                common = {
                    "seed": seed,
                    "test_accuracy": value,
                    "speedup": 2.0,
                    "kernel_error": 0.1,
                    "kernel_error_scaled": 0.01,
                }
                for width in widths:
                    rows.append({"kind": "point", "arm": who["arm"], "width": width, **common})
                rows.append({"kind": "summary", **who, "width": widths[-1], **common})
    return rows


PLAIN = (0.8, 0.7, 0.6)


def test_within_one_standard_error_everywhere_holds():
    # Differences +.01, 0, -.01: mean 0.
    answer = verdict(made_up((0.91, 0.8, 0.69), PLAIN), subject="Here")
    assert answer.outcome == "holds"
    assert "in 4 of 4 cases" in answer.sentence
    assert "that of the plain network by 10.00" in answer.sentence


def test_one_standard_error_is_measured_between_pairs():
    # All three differ by -.01: less than the spread over seeds, and far from chance.
    answer = verdict(made_up((0.89, 0.79, 0.69), PLAIN), subject="Here")
    assert answer.outcome == "does not hold here"
    assert "in 0 of 4 cases" in answer.sentence
    assert "differs by 1.00 percentage points at most, and by 1.00 at width 128" in answer.sentence


def test_the_standard_error_is_that_of_the_mean():
    # Differences .00, .01, .02: mean .01, standard error .01 / sqrt 3 = .0058.
    answer = verdict(made_up((0.9, 0.81, 0.72), PLAIN), subject="Here")
    assert answer.outcome == "does not hold here"
    assert "+1.00 ± 0.58 at width 32" in answer.details[0]


def test_agreement_in_half_of_the_cases_holds_partly():
    rows = made_up((0.91, 0.8, 0.69), PLAIN)
    for row in rows:
        if row["kind"] == "point" and row["arm"] == "tanh-matched":
            row["test_accuracy"] -= 0.05
    answer = verdict(rows, subject="Here")
    assert answer.outcome == "holds partly"
    assert "in 2 of 4 cases" in answer.sentence


def test_a_network_off_its_equilibrium_is_left_out_and_named():
    rows = made_up((0.91, 0.8, 0.0), PLAIN, deq=(0.9, 0.8, None))
    answer = verdict(rows, subject="Here")
    assert answer.outcome == "holds"
    assert "the DEQ of width 32 at seed 2, width 128 at seed 2" in answer.details[-1]


def test_nothing_is_decided_without_two_seeds_at_equilibrium():
    rows = made_up((0.91, 0.8, 0.69), PLAIN, deq=(0.9, None, None))
    assert verdict(rows, subject="Here").outcome == "undecided"
    assert verdict(made_up((0.9,), (0.8,), deq=(0.9,)), subject="Here").outcome == "undecided"


def test_the_verdict_of_real_rows_can_be_read(rows):
    again = [row | {"seed": 1} for row in rows]
    answer = EXPERIMENT.judge(SMOKE, [*rows, *again])
    assert answer.sentence.startswith("On digits, the accuracy of the matched network lies within")
    assert len(answer.details) == 5


def test_the_same_numbers_go_through_the_readout_as_through_the_network():
    # Features once and a readout on them is the network itself.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, generator=generator)
    for arm in ARMS.values():
        network = arm.kernel(0.2).network(5, 7, 3, tau0=TAU0, generator=generator)
        torch.nn.init.normal_(network.readout.weight, generator=generator)
        torch.testing.assert_close(network.readout(network.features(x)), network(x))
