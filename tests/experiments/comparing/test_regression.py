"""Regression tasks: who sees which samples, and whose rows are told."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import mse_loss

from deqlab.experiments.comparing import arms, matching
from deqlab.experiments.comparing.regression import (
    Regression,
    RegressionConfig,
    regression,
)
from deqlab.experiments.config import TEST_SEED

CONFIG = RegressionConfig(
    seeds=(0, 1),
    width=4,
    depths=(1,),
    steps=30,
    batch_size=16,
    test_samples=64,
    num_evaluations=3,
    learning_rates=(1e-4, 3e-2),
)


def sample(config, num_samples, generator):
    x = torch.rand(num_samples, 1, generator=generator)
    return x, torch.sin(x)


def experiment(*, about="Mean squared error.", charts=(), **task):
    task = {"sample": sample, "subject": lambda config: f"At width {config.width}", **task}
    return regression(
        Regression(**task),
        CONFIG,
        about=about,
        charts=charts,
        name="sine",
        title="A sine",
        claim="It is learnt.",
        source="deqlab",
        origin="asked",
    )


def fnn(task, config):
    """The cheapest arm: whatever trains, what is done with it is the same."""
    return next(job for job in task.plan(config, []) if job.arm == "fnn-1-parameters")


def rows(config=CONFIG, **options):
    task = experiment(**options)
    torch.manual_seed(0)
    return list(task.run(config, fnn(task, config)))


def summary(arm, loss, matching=None):
    row = {"kind": "summary", "arm": arm, "seed": 0, "label": arm, "matching": matching}
    return row | {"test_loss": loss, "converged": 1.0}


def of(kind, found):
    return [row for row in found if row["kind"] == kind]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_all_arms_and_seeds_are_tested_and_validated_on_the_same_samples(training_of):
    task = experiment()
    jobs = task.plan(CONFIG, [])
    assert {job.arm for job in jobs} == {"deq", "fnn-1-parameters"}
    first = training_of(task, CONFIG)
    for seed in (1, 7):
        other = training_of(task, CONFIG, seed=seed)
        assert same(other.test, first.test)
        assert same(other.validation, first.validation)
    other = training_of(replace(task, plan=lambda config, rows: jobs[-1:]), CONFIG)
    assert same(other.test, first.test)
    assert same(other.validation, first.validation)


def test_no_sample_is_in_two_of_the_sets(training_of):
    largest = 2**31 - 3
    sets = []
    for seed in (0, 1, largest):
        training = training_of(experiment(), replace(CONFIG, seeds=(0, 1, largest)), seed=seed)
        batches = list(training.batches(seed))
        assert [len(x) for x, _ in batches] == [16] * 30
        assert training.num_steps == 30
        assert same(batches[0], next(iter(training.batches(seed))))
        sets += [x for x, _ in batches]
    sets += [training.test[0], training.validation[0]]
    assert len(training.test[0]) == len(training.validation[0]) == 64
    # 1,568 draws of 2^24 numbers: all but about 0.07 pairs differ, and the seeds are fixed.
    every = torch.cat(sets)
    assert len(every.unique()) == len(every) == 3 * 30 * 16 + 2 * 64


@pytest.mark.parametrize("seed", [2**31 - 2, 2**31 - 1])
def test_seeds_of_the_test_and_validation_sets_are_refused(seed):
    with pytest.raises(ValueError, match=f"seeds must be below 2147483646, got {seed}: those"):
        replace(CONFIG, seeds=(0, seed))


def test_another_test_set_leaves_validation_and_training_as_they_are(training_of):
    test = (torch.full((5, 1), 2.0), torch.zeros(5, 1))
    usual = training_of(experiment(), CONFIG)
    other = training_of(experiment(test=lambda config: test), CONFIG)
    assert same(other.test, test)
    assert not same(other.validation, test)
    assert same(other.validation, usual.validation)
    assert same(next(iter(other.batches(3))), next(iter(usual.batches(3))))


def test_the_learning_rate_is_chosen_without_the_test_set():
    # On a target that is the untrained network, the smallest rate has the least test loss.
    task = experiment()
    torch.manual_seed(0)
    start = arms.build(arms.Shape(config=CONFIG, num_inputs=1, num_outputs=1), fnn(task, CONFIG))
    x = torch.linspace(0, 1, 50)[:, None]
    found = rows(test=lambda config: (x, start(x).detach()))
    last = {row["learning_rate"]: row["test_loss"] for row in of("progress", found)}
    assert last[1e-4] < last[3e-2]
    (summary,) = of("summary", found)
    assert summary["learning_rate"] == 3e-2
    assert summary["test_loss"] == last[3e-2]


@pytest.mark.parametrize("rates", [(1e-4, 3e-2), (3e-2, 1e-4), (3e-2,)])
def test_rows_of_a_trained_network_are_of_the_one_that_is_kept(rates):
    asked = []

    def after(config, predict):
        asked.append(config)
        generator = torch.Generator().manual_seed(2**31 - 1)
        x, y = sample(config, config.test_samples, generator)
        output = predict(x)
        assert not output.requires_grad
        yield {"kind": "after", "loss": mse_loss(output, y).item()}

    config = replace(CONFIG, learning_rates=rates)
    found = rows(config, after=after)
    assert asked == [config]
    (told,), (summary,) = of("after", found), of("summary", found)
    assert summary["learning_rate"] == 3e-2
    assert told["loss"] == summary["test_loss"]
    assert found[-1] is summary
    assert not of("after", rows(config))


def test_a_budget_that_nothing_meets_is_refused():
    task = experiment()
    assert task.check(CONFIG) is None
    with pytest.raises(
        matching.BudgetError, match="no FNN of depth 40 comes within 25% of the DEQ's"
    ):
        task.check(replace(CONFIG, depths=(40,)))


def at_three_seeds(*rows):
    return [{**row, "seed": seed} for row in rows for seed in range(3)]


def test_the_verdict_is_of_test_losses_and_names_the_subject():
    found = at_three_seeds(summary("deq", 0.01), summary("fnn", 0.02, "parameters"))
    assert experiment().judge(CONFIG, found).outcome == "holds partly"  # FLOPs are missing
    found += at_three_seeds(summary("other", 0.03, "FLOPs per step"))
    verdict = experiment().judge(CONFIG, found)
    assert verdict.outcome == "holds"
    assert verdict.sentence.startswith("At width 4, the DEQ reaches a test loss of 0.01")


def test_losses_are_measured_against_the_best_constant_unless_the_test_set_is_another():
    _, y = sample(CONFIG, CONFIG.test_samples, torch.Generator().manual_seed(TEST_SEED))
    loss, told = (y - y.mean()).square().mean().item(), []
    for share in (0.91, 0.89):
        for task in (experiment(), experiment(test=lambda config: None)):
            ours, theirs = summary("deq", share * loss), summary("fnn", 2 * loss, "parameters")
            told.append(task.judge(CONFIG, at_three_seeds(ours, theirs)).outcome)
    assert told == ["undecided", *["holds partly"] * 3]


@pytest.mark.parametrize("name", ["steps", "test_samples"])
def test_a_count_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        replace(CONFIG, **{name: 0})
