"""A solver or a gradient in a checkpoint of torch or Lightning loads with weights_only=True."""

import importlib
import inspect
import pickle
import subprocess
import sys

import pytest
import torch

import deqlab.gradients
import deqlab.solvers
from deqlab.gradients import GMRES, Dense, Gradient, Implicit, Phantom
from deqlab.gradients.adjoint import LinearMethod
from deqlab.nn import DEQ, DenseCell
from deqlab.solvers import Anderson, Auto, ForwardBackward, Newton, Solver

VALUES = [
    Anderson(memory=3, rtol=1e-3, record=(1, 2)),
    Auto(),
    ForwardBackward(alpha=0.5),
    Implicit(solver=GMRES(rtol=1e-4)),
    Implicit(solver=Anderson(memory=2)),
    Implicit(solver=Dense()),
    Phantom(steps=3),
]

KINDS = Solver | Gradient | LinearMethod


def public():
    """Every class of settings that the two packages export."""
    for package in (deqlab.solvers, deqlab.gradients):
        for name in package.__all__:
            kind = getattr(package, name)
            if inspect.isclass(kind) and issubclass(kind, KINDS) and not inspect.isabstract(kind):
                yield kind


@pytest.mark.parametrize("kind", list(public()), ids=lambda kind: kind.__name__)
def test_every_public_class_of_settings_loads(tmp_path, kind):
    torch.save({"hyper_parameters": {"of": kind()}}, tmp_path / "file")
    found = torch.load(tmp_path / "file", weights_only=True)
    assert found["hyper_parameters"]["of"] == kind()


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_settings_come_back_as_they_were(tmp_path, value):
    torch.save({"hyper_parameters": {"of": value}}, tmp_path / "file")
    assert torch.load(tmp_path / "file", weights_only=True)["hyper_parameters"]["of"] == value


def test_to_have_used_a_name_of_the_package_is_enough(tmp_path):
    torch.save({"solver": Newton()}, tmp_path / "file")
    code = (
        "import torch; from deqlab import DEQ; "
        f"print(torch.load({str(tmp_path / 'file')!r}, weights_only=True))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Newton(" in found.stdout


def changed(value, **state):
    """The bytes of a checkpoint whose settings somebody has changed."""
    for name, content in state.items():
        object.__setattr__(value, name, content)
    return {"of": value}


@pytest.mark.parametrize(
    ("state", "why"),
    [({"memory": 0}, "memory must be at least 1"), ({"run": 3}, "has no argument 'run'|run")],
    ids=str,
)
def test_settings_that_somebody_changed_are_checked(tmp_path, state, why):
    torch.save(changed(Anderson(), **state), tmp_path / "file")
    with pytest.raises((ValueError, TypeError, pickle.UnpicklingError), match=why):
        torch.load(tmp_path / "file", weights_only=True)


class Own(Anderson):
    """A solver of a user's own, of which deqlab cannot know what making it runs."""


@pytest.mark.parametrize("value", [Own(), DEQ(DenseCell(1, 1)), print], ids=["own", "deq", "print"])
def test_nothing_else_loads_for_it(tmp_path, value):
    torch.save({"of": value}, tmp_path / "file")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(tmp_path / "file", weights_only=True)


def test_only_classes_of_settings_are_let_through():
    let = {kind for kind in torch.serialization.get_safe_globals() if "deqlab" in kind.__module__}
    assert let == set(public())
    for kind in let:
        assert "__reduce__" not in vars(kind)
        assert kind.__module__.startswith("deqlab.")


@pytest.mark.filterwarnings("default")  # Lightning's own
def test_a_checkpoint_of_lightning_loads(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch", exc_type=ImportError)

    class Model(lightning.LightningModule):
        def __init__(self, solver, gradient):
            super().__init__()
            self.save_hyperparameters()
            self.layer = DEQ(DenseCell(2, 3), solver=solver, gradient=gradient)

        def training_step(self, batch, index):
            return self.layer(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    data = torch.utils.data.TensorDataset(torch.randn(4, 2))
    trainer = lightning.Trainer(
        max_epochs=1,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(Model(Anderson(memory=3), Phantom(steps=2)), torch.utils.data.DataLoader(data, 2))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    found = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert found["hyper_parameters"]["solver"] == Anderson(memory=3)
    model = Model.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert model.layer.gradient == Phantom(steps=2)


def test_importing_the_packages_twice_changes_nothing():
    before = len(torch.serialization.get_safe_globals())
    importlib.reload(deqlab.gradients)
    assert len(torch.serialization.get_safe_globals()) == before
