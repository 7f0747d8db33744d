"""`deqlab sample`: a text that begins with the prompt, what it took, and mistakes in sentences."""

import re

import pytest
import torch

from deqlab.cli.sample import write_on
from deqlab.experiments.base import Job
from deqlab.experiments.config import UsageError
from deqlab.recipes import RECIPES
from deqlab.recipes.attempt import Attempt
from deqlab.recipes.weights import FILE, write_weights
from deqlab.tasks.files.errors import DataError


def run_of(recipe, folder, arm="deq"):
    """A run with a network at its first weights, as if it had been trained."""
    task = recipe.task(recipe.presets["smoke"])
    torch.manual_seed(0)
    attempt = Attempt(recipe.arms[arm].make(task.config, task.data), task, 1e-2)
    path = folder / "results" / f"{arm}-0" / FILE
    write_weights(path, recipe.name, Job(arm=arm, seed=0), attempt, [])
    return folder


def ask(run, **options):
    settings = {"network": "deq-0", "prompt": "one ", "count": 12, "temperature": 0.8, "seed": 0}
    write_on(run, **settings | options)


@pytest.mark.parametrize("name", ["language", "hybrid-language"])
def test_it_writes_on_and_says_what_a_warm_start_saves(name, tmp_path, capsys):
    run = run_of(RECIPES[name], tmp_path)
    ask(run)
    out, err = capsys.readouterr()
    assert out.startswith("one ")
    assert len(out.rstrip("\n")) <= 16
    assert re.search(r"12 tokens, \d+\.\d evaluations of f .* from cold starts \d+\.\d", err)
    assert "100.0% and 100.0%" in err
    ask(run)
    assert capsys.readouterr().out == out
    ask(run, seed=1)
    assert capsys.readouterr().out != out


def test_a_file_of_weights_will_do(tmp_path, capsys):
    run = run_of(RECIPES["language"], tmp_path)
    ask(run / "results" / "deq-0" / FILE)
    assert capsys.readouterr().out.startswith("one ")


def test_mistakes_are_sentences(tmp_path):
    run = run_of(RECIPES["language"], tmp_path)
    with pytest.raises(UsageError, match="--prompt is empty"):
        ask(run, prompt="")
    with pytest.raises(DataError, match="has characters that numbers does not: 'X'"):
        ask(run, prompt="X")
    with pytest.raises(UsageError, match="no trained network 'deq-7'; it has deq-0: choose one by"):
        ask(run, network="deq-7")
    with pytest.raises(UsageError, match="it has none"):
        ask(tmp_path / "absent")
    other = run_of(RECIPES["prefix-sums"], tmp_path / "other")
    with pytest.raises(UsageError, match="of the recipe prefix-sums, which does not write"):
        ask(other)
