"""Weights of a recipe: the network that is made from a file is the one that was written."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments.base import Job
from deqlab.nn.tuning import tune_alpha
from deqlab.recipes import RECIPES, card, trained
from deqlab.recipes.attempt import Attempt
from deqlab.recipes.certificates import certificates
from deqlab.recipes.weights import write_weights
from deqlab.training import CheckpointError
from deqlab.training.checkpoints.file import write
from deqlab.training.layers import layers_of

ROW = {"kind": "summary", "test_accuracy": 0.5, "converged": 1.0, "test_evaluations": 6.0}


def attempt_of(recipe):
    """A network of the recipe with its first weights, as if it had been trained."""
    config = recipe.presets["smoke"]
    task = recipe.task(config)
    torch.manual_seed(0)
    return config, Attempt(recipe.arms["deq"].make(config, task.data), task, 1e-2)


def written(path, recipe, attempt, *, seed=0):
    rows = certificates(attempt.model, "after training")
    job = Job(arm="deq", seed=seed)
    write_weights(path, recipe.name, job, attempt, [*rows, {**ROW, "parameters": 7}])
    return path


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_network_of_a_file_answers_as_the_one_that_was_written(recipe, tmp_path):
    _, attempt = attempt_of(recipe)
    path = written(tmp_path / "deq-0" / "weights.safetensors", recipe, attempt)
    before = torch.get_rng_state()
    model = trained(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert all(layer.on_failure == "warn" for layer in layers_of(model).values())
    for layer in layers_of(model).values():
        layer.on_failure = "ignore"  # at its first weights it may miss its equilibrium
    attempt.model.eval()
    assert attempt.task.tested(model) == attempt.task.tested(attempt.model)


def test_what_training_changed_of_a_solver_is_in_the_file(tmp_path):
    _, attempt = attempt_of(RECIPES["monotone-mnist"])
    (layer,) = layers_of(attempt.model).values()
    x = attempt.task.data.test[0][:50].flatten(1)
    alpha = tune_alpha(layer, x)
    assert alpha != 1
    path = written(tmp_path / "w.safetensors", RECIPES["monotone-mnist"], attempt)
    (loaded,) = layers_of(trained(path)).values()
    assert loaded.solver.alpha == alpha
    assert loaded.gradient.solver.alpha == layer.gradient.solver.alpha == alpha


def test_a_card_says_what_the_rows_say(tmp_path):
    recipe = RECIPES["monotone-mnist"]
    config, attempt = attempt_of(recipe)
    said = card(written(tmp_path / "w.safetensors", recipe, attempt, seed=3))
    assert (said.recipe, said.seed, said.dataset) == ("monotone-mnist", 3, "digits")
    assert (said.test_accuracy, said.converged, said.evaluations) == (0.5, 1.0, 6.0)
    assert said.parameters == 7
    assert said.command == "deqlab train monotone-mnist --preset smoke --seeds 1"
    (proved,) = said.proved
    assert proved.startswith("one fixed point: ")
    other = replace(config, width=21)
    attempt.model = recipe.arms["deq"].make(other, attempt.task.data)
    attempt.task.config = other
    said = card(written(tmp_path / "w.safetensors", recipe, attempt))
    assert said.command == (
        "deqlab train monotone-mnist, with settings of its own: see the config of its run"
    )


def test_what_is_no_such_file_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"deqlab brings no weights called 'resnet': choose one"):
        trained("resnet")
    with pytest.raises(CheckpointError, match=r"absent\.safetensors cannot be read"):
        trained("absent.safetensors")
    write(tmp_path / "other.safetensors", {"model": {}})
    recipe = RECIPES["monotone-mnist"]
    _, attempt = attempt_of(recipe)
    for wrong in (replace(recipe, name="later"), RECIPES["conv-fashion"]):
        path = written(tmp_path / "w.safetensors", wrong, attempt)
        for ask in (trained, card):
            with pytest.raises(CheckpointError, match="this version of deqlab does not have"):
                ask(path)
    with pytest.raises(CheckpointError, match="not one of a network that `deqlab train`"):
        trained(tmp_path / "other.safetensors")
    path = written(tmp_path / "w.safetensors", recipe, attempt)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        trained(path)
