"""What is the user's in a recipe: a cell, one more arm, and weights that name code."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from deqlab import DEQ
from deqlab.nn import Cell, Knob, Prepared
from deqlab.own.target import OwnCodeError
from deqlab.recipes import RECIPES, card, trained
from deqlab.recipes.attempt import Attempt
from deqlab.recipes.base import chosen_of
from deqlab.recipes.weights import read_weights, write_weights
from deqlab.runs.records import Job
from deqlab.training.checkpoints.file import write
from deqlab.training.layers import layers_of

HERE = __name__
CONV = RECIPES["conv-fashion"]
SMOKE = replace(CONV.presets["smoke"], train_size=64, test_size=20)


class Maps(Cell[torch.Tensor]):
    def __init__(self, channels, size):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.register_buffer("gain", torch.tensor(0.5))

    def initial(self, x):
        return torch.zeros_like(x)

    def prepare(self, x):
        return Prepared(shared=self.gain, rows=x)

    def update(self, z, shared, rows):
        return torch.tanh(shared * self.conv(z) + rows)


class Turned(Maps):
    @property
    def knob(self):
        return Knob(name="gain", value=self.gain, highest=2.0)


class Halved(Turned):
    def initial(self, x):
        return x.new_zeros(*x.shape[:2], x.shape[2] // 2, x.shape[3])


def network(config, images):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, images.num_classes))


def scores(config, images):
    return nn.Flatten()


def mine(name):
    return f"{HERE}:{name}"


def test_a_cell_of_the_users_stands_in_the_recipe():
    config = replace(SMOKE, cell=mine("Turned"))
    CONV.check(config)
    model = CONV.arms["deq"].make(config, CONV.task(config).data)
    (layer,) = layers_of(model).values()
    assert isinstance(layer, DEQ)
    assert isinstance(layer.cell, Turned)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cell": mine("Maps")}, "Maps has no knob that rate control could turn: give it one"),
        ({"cell": mine("Halved"), "rate": 0.0}, "Halved"),
        ({"model": mine("Maps")}, "raised TypeError"),
        ({"model": mine("scores")}, "has no gradient, and a number that has one is needed"),
        ({"dataset": mine("CONV")}, "is of type Recipe, and data sets are instances of Dataset"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        CONV.check(replace(SMOKE, **changes))
    assert "\n" not in str(caught.value)


def test_a_network_of_the_users_is_one_more_arm_whatever_the_preset_asks_for():
    config = replace(SMOKE, arms=("deq",), model=mine("network"))
    CONV.check(config)
    assert list(chosen_of(CONV.arms, config)) == ["deq", "own"]
    jobs = {job.arm: job for job in CONV.plan(config, [])}
    assert jobs["own"].settings["matching"] is None
    torch.manual_seed(0)
    *_, summary = CONV.run(config, jobs["own"])
    assert summary["parameters"] == 650
    assert 0 <= summary["test_accuracy"] <= 1
    assert list(chosen_of(CONV.arms, SMOKE)) == ["deq", "twin-parameters", "twin-flops"]


def test_weights_do_not_import_what_they_name_unless_the_caller_names_it_too(tmp_path):
    config = replace(SMOKE, cell=mine("Turned"))
    task = CONV.task(config)
    attempt = Attempt(CONV.arms["deq"].make(config, task.data), task, 1e-2)
    path = tmp_path / "w.safetensors"
    write_weights(path, CONV.name, Job(arm="deq", seed=0), attempt, [])
    with pytest.raises(OwnCodeError, match=r"was made with .*:Turned, which is code that loading"):
        trained(path)
    model = trained(path, own=[mine("Turned")])
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(model(x), attempt.model.eval()(x))


RECIPE = replace(CONV, name="of-mine")


def test_weights_of_a_recipe_of_the_users(tmp_path):
    task = CONV.task(SMOKE)
    attempt = Attempt(CONV.arms["deq"].make(SMOKE, task.data), task, 1e-2)
    path = tmp_path / "w.safetensors"
    write_weights(path, RECIPE.name, Job(arm="deq", seed=0), attempt, [])
    with pytest.raises(ValueError, match="a recipe of your own is named by own="):
        trained(path)
    trained(path, own=[mine("RECIPE")])


def test_one_sentence_names_every_part_of_the_users_that_weights_need(tmp_path):
    needed = [mine("Turned"), mine("network"), mine("DATA")]
    task = CONV.task(SMOKE)
    attempt = Attempt(CONV.arms["deq"].make(SMOKE, task.data), task, 1e-2)
    path = tmp_path / "w.safetensors"
    write_weights(path, CONV.name, Job(arm="deq", seed=0), attempt, [])
    found = read_weights(path)
    found["config"] |= dict(zip(("cell", "model", "dataset"), needed, strict=True))
    write(path, found)
    for ask in (trained, card):
        with pytest.raises(OwnCodeError) as caught:
            ask(path)
        assert f"made with {needed[0]}, {needed[1]} and {needed[2]}, which is code" in str(
            caught.value
        )
        assert str(caught.value).endswith(f"say so by own={needed!r}")
    with pytest.raises(OwnCodeError, match=r"made with [^ ]*:DATA, which is code") as caught:
        trained(path, own=needed[:2])
    assert str(caught.value).endswith(f"own={needed!r}")  # what is typed next, whole

    write(path, found | {"recipe": RECIPE.name})
    with pytest.raises(OwnCodeError, match="and the recipe 'of-mine', which is code") as caught:
        trained(path)
    assert str(caught.value).endswith("'MODULE:NAME'], with the MODULE:NAME of the recipe")
