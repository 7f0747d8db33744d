"""The data on which kernels are compared: drawn, centred, and refused where they have no kernel."""

import numpy as np
import pytest
import torch

from deqlab.inputs.kernel_data import fingerprint, load, understood
from deqlab.kernels import GaussianMixture
from deqlab.tasks import DataError


def loaded(name, **changes):
    options = {"samples": 40, "classes": (6, 8), "dimension": 50, "seed": 0, **changes}
    return load(name, **options)


def test_images_are_balanced_centred_and_of_norm_one():
    data = loaded("digits")
    assert data.x.shape == (40, 64)
    assert torch.bincount(data.classes).tolist() == [20, 20]
    assert data.number_of_classes == 2
    assert float(data.x.mean(dim=0).abs().max()) < 1e-12
    assert data.tau0 == pytest.approx(1)
    assert torch.equal(data.x, loaded("digits").x)
    assert not torch.equal(data.x, loaded("digits", seed=1).x)


def test_a_mixture_is_not_touched():
    data = loaded("mixture")
    assert isinstance(data.classes, GaussianMixture)
    assert data.x.shape == (40, 50)
    assert data.number_of_classes == 2


def test_a_file_is_drawn_from_too(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "x.npz"
    np.savez(file, x=rng.normal(size=(30, 5)), labels=np.arange(30) % 3)
    assert loaded(str(file)).x.shape == (30, 5)
    data = loaded(str(file), samples=12)
    assert torch.bincount(data.classes).tolist() == [4, 4, 4]
    checksum = fingerprint(str(file))
    np.savez(file, x=rng.normal(size=(30, 5)), labels=np.arange(30) % 3)
    assert fingerprint(str(file)) != checksum


def test_the_labels_are_those_that_were_named(tmp_path):
    file = tmp_path / "x.npz"
    x = np.random.default_rng(0).normal(size=(30, 5))
    np.savez(file, x=x, labels=np.zeros(30), kinds=np.arange(30) % 3)
    assert loaded(str(file)).number_of_classes == 1
    assert loaded(str(file), label="kinds").number_of_classes == 3
    assert understood(str(file), "kinds").endswith("3 classes (0, 1, 2) from array 'kinds'")
    assert understood("digits", None) == ""
    with pytest.raises(DataError, match="--label is for files; the classes of digits"):
        understood("digits", "kinds")


@pytest.mark.parametrize("scale", [2.0**600, 2.0**-600, -(2.0**1000)])
def test_the_unit_of_the_samples_does_not_matter(tmp_path, scale):
    x = np.random.default_rng(0).normal(size=(30, 5))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "scaled.npy", scale * x)
    plain, scaled = (loaded(str(tmp_path / f"{name}.npy")).x for name in ("x", "scaled"))
    assert torch.equal(scaled, plain * np.sign(scale))


def test_what_has_no_kernel_is_refused(tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, np.ones((5, 2)))
    with pytest.raises(DataError, match=r"all samples of .* are the same"):
        loaded(str(file))
    np.save(file, np.ones((1, 2)))
    with pytest.raises(DataError, match="has one sample, and a kernel compares samples"):
        loaded(str(file))
    np.save(file, np.array([[1.0, np.nan], [2.0, 3.0]]))
    with pytest.raises(DataError, match="holds nan or inf"):
        loaded(str(file))
    with pytest.raises(DataError, match="digits has classes 0 to 9, not 12"):
        loaded("digits", classes=(6, 12))
    with pytest.raises(DataError, match="no data set is named 'mnits'; known are mixture"):
        fingerprint("mnits")
