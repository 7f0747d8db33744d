"""The kernel experiments at their smallest, and that their verdicts can fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deqlab.activations import HardTanh
from deqlab.activations.named import ACTIVATIONS
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.config import UsageError
from deqlab.experiments.kernels.data import fingerprint, load, understood
from deqlab.experiments.kernels.kernel_spectrum import KernelSpectrumConfig
from deqlab.kernels import GaussianMixture
from deqlab.tasks import DataError


def rows_of(name, **changes):
    experiment = EXPERIMENTS[name]
    config = replace(experiment.presets["smoke"], **changes)
    experiment.check(config)
    rows = [
        {"arm": job.arm, "seed": job.seed, **row}
        for job in experiment.plan(config, [])
        for row in experiment.run(config, job)
    ]
    return experiment, config, rows


@pytest.fixture(scope="module")
def spectrum():
    return rows_of("kernel-spectrum", dimension=200, data=("mixture", "digits"))


def test_the_error_of_the_equivalent_falls_and_the_verdict_sees_one_that_does_not():
    experiment, config, rows = rows_of("kernel-error")
    assert experiment.judge(config, rows).outcome == "holds"
    flat = [row | {"fall": 1.2} if row["arm"] == "erf" else row for row in rows]
    assert experiment.judge(config, flat).outcome == "holds partly"
    worse = [row | {"fall": 1.2} for row in rows]
    assert experiment.judge(config, worse).outcome == "does not hold here"


def test_finite_kernels_tend_to_their_limits_and_the_verdict_sees_other_rates():
    experiment, config, rows = rows_of("kernel-montecarlo", widths=(64, 1024), seeds=(0, 1))
    assert {row["arm"] for row in rows} == {"conjugate", "readout+recurrent", "all"}
    verdict = experiment.judge(config, rows)
    assert verdict.outcome in ("holds", "holds partly")
    slow = [row | {"rate": 0.1} for row in rows]
    assert experiment.judge(config, slow).outcome == "does not hold here"


def test_the_matched_network_has_the_spectrum_of_the_deq(spectrum):
    _, _, rows = spectrum
    measured = {(row["data"], row["arm"]): row for row in rows if row["kind"] == "spectrum"}
    assert measured["mixture", "equivalent"]["error"] < 0.1
    assert measured["mixture", "matched"]["error"] < 1e-3
    assert measured["digits", "matched"]["error"] < 0.02
    assert measured["digits", "plain"]["error"] > 0.5
    for data in ("mixture", "digits"):
        exact, matched = measured[data, "exact"], measured[data, "matched"]
        assert exact["error"] == 0
        assert exact["alignment"] == pytest.approx(1)
        assert matched["alignment"] > 0.99
        assert exact["flops"] > 2 * matched["flops"]
        assert "flops" not in measured[data, "equivalent"]


def test_eigenvalues_descend_and_bins_add_up(spectrum):
    _, _, rows = spectrum
    for data in ("mixture", "digits"):
        here = [r for r in rows if r.get("data") == data and r["arm"] == "exact"]
        values = [row["eigenvalue"] for row in here if row["kind"] == "eigenvalue"]
        assert values == sorted(values, reverse=True)
        assert sum(row["share"] for row in here if row["kind"] == "bin") == pytest.approx(1)


def test_the_verdict_on_spectra_sees_each_failure(spectrum):
    experiment, config, rows = spectrum
    good = [
        row | {"leading_error": 0.01, "bulk_error": 0.01, "alignment": 0.99}
        if row["kind"] == "spectrum"
        else row
        for row in rows
    ]
    assert experiment.judge(config, good).outcome == "holds"
    for field, value in (("leading_error", 0.2), ("bulk_error", 0.2), ("alignment", 0.5)):
        on_one, on_both = (
            [
                row | {field: value} if row["kind"] == "spectrum" and row["data"] in names else row
                for row in good
            ]
            for names in (("digits",), ("digits", "mixture"))
        )
        assert experiment.judge(config, on_one).outcome == "holds partly"
        assert experiment.judge(config, on_both).outcome == "does not hold here"


def test_a_deq_that_is_not_at_its_equilibrium_is_not_timed():
    _, _, rows = rows_of(
        "kernel-spectrum", data=("mixture",), activation="identity", sigma_a2=0.999999
    )
    measured = {row["arm"]: row for row in rows if row["kind"] == "spectrum"}
    assert "flops" not in measured["exact"]
    assert "flops" in measured["matched"]


def test_weights_without_a_kernel_are_refused_before_anything_is_written(monkeypatch):
    # None of the named activations is so steep.
    monkeypatch.setitem(ACTIVATIONS, "hard_tanh", HardTanh(2.0, 1e6))
    config = KernelSpectrumConfig(
        data=("mixture",), dimension=50, activation="hard_tanh", sigma_a2=0.9
    )
    with pytest.raises(UsageError, match=r"mixture: sigma_a2 = 0\.9 is too large"):
        EXPERIMENTS["kernel-spectrum"].check(config)
    with pytest.raises(ValueError, match=r"sigma_a2 must be in \[0, 1\), got 1.5"):
        replace(config, sigma_a2=1.5)
    with pytest.raises(ValueError, match="activation is one of"):
        replace(config, activation="sigmoid")
    with pytest.raises(ValueError, match="data needs one or more different names"):
        replace(config, data=("mixture", "mixture"))


class TestData:
    """`load`."""

    def load(self, name, **changes):
        options = {"samples": 40, "classes": (6, 8), "dimension": 50, "seed": 0, **changes}
        return load(name, **options)

    def test_images_are_balanced_centred_and_of_norm_one(self):
        data = self.load("digits")
        assert data.x.shape == (40, 64)
        assert torch.bincount(data.classes).tolist() == [20, 20]
        assert data.number_of_classes == 2
        assert float(data.x.mean(dim=0).abs().max()) < 1e-12
        assert data.tau0 == pytest.approx(1)
        assert torch.equal(data.x, self.load("digits").x)
        assert not torch.equal(data.x, self.load("digits", seed=1).x)

    def test_a_mixture_is_not_touched(self):
        data = self.load("mixture")
        assert isinstance(data.classes, GaussianMixture)
        assert data.x.shape == (40, 50)
        assert data.number_of_classes == 2

    def test_a_file_is_drawn_from_too(self, tmp_path):
        rng = np.random.default_rng(0)
        file = tmp_path / "x.npz"
        np.savez(file, x=rng.normal(size=(30, 5)), labels=np.arange(30) % 3)
        assert self.load(str(file)).x.shape == (30, 5)
        data = self.load(str(file), samples=12)
        assert torch.bincount(data.classes).tolist() == [4, 4, 4]
        checksum = fingerprint(str(file))
        np.savez(file, x=rng.normal(size=(30, 5)), labels=np.arange(30) % 3)
        assert fingerprint(str(file)) != checksum

    def test_the_labels_are_those_that_were_named(self, tmp_path):
        file = tmp_path / "x.npz"
        x = np.random.default_rng(0).normal(size=(30, 5))
        np.savez(file, x=x, labels=np.zeros(30), kinds=np.arange(30) % 3)
        assert self.load(str(file)).number_of_classes == 1
        assert self.load(str(file), label="kinds").number_of_classes == 3
        assert understood(str(file), "kinds").endswith("3 classes (0, 1, 2) from array 'kinds'")
        assert understood("digits", None) == ""
        with pytest.raises(DataError, match="--label is for files; the classes of digits"):
            understood("digits", "kinds")

    @pytest.mark.parametrize("scale", [2.0**600, 2.0**-600, -(2.0**1000)])
    def test_the_unit_of_the_samples_does_not_matter(self, tmp_path, scale):
        x = np.random.default_rng(0).normal(size=(30, 5))
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "scaled.npy", scale * x)
        plain, scaled = (self.load(str(tmp_path / f"{name}.npy")).x for name in ("x", "scaled"))
        assert torch.equal(scaled, plain * np.sign(scale))

    def test_what_has_no_kernel_is_refused(self, tmp_path):
        file = tmp_path / "x.npy"
        np.save(file, np.ones((5, 2)))
        with pytest.raises(DataError, match=r"all samples of .* are the same"):
            self.load(str(file))
        np.save(file, np.ones((1, 2)))
        with pytest.raises(DataError, match="has one sample, and a kernel compares samples"):
            self.load(str(file))
        np.save(file, np.array([[1.0, np.nan], [2.0, 3.0]]))
        with pytest.raises(DataError, match="holds nan or inf"):
            self.load(str(file))
        with pytest.raises(DataError, match="digits has classes 0 to 9, not 12"):
            self.load("digits", classes=(6, 12))
        with pytest.raises(DataError, match="no data set is named 'mnits'; known are mixture"):
            fingerprint("mnits")

    def test_a_class_of_two_samples_is_refused_in_a_sentence(self, tmp_path):
        file = tmp_path / "x.npz"
        np.savez(file, x=np.random.default_rng(0).normal(size=(20, 5)), y=[0] * 18 + [1] * 2)
        config = KernelSpectrumConfig(data=(str(file),), samples=20)
        with pytest.raises(UsageError, match="class 1 has 2 samples; three are needed"):
            EXPERIMENTS["kernel-spectrum"].check(config)
