"""The kernel experiments at their smallest, and that their verdicts can fail."""

from dataclasses import replace

import numpy as np
import pytest

from deqlab.activations import HardTanh
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.config import UsageError
from deqlab.experiments.kernels import kernel_answer
from deqlab.experiments.kernels.kernel_spectrum import EXPERIMENT, KernelSpectrumConfig
from deqlab.kernels.kinds import ACTIVATIONS


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


def test_where_the_theory_does_not_apply_nothing_is_said_to_hold():
    config = KernelSpectrumConfig(data=("my.csv",))
    of = {"leading_error": 0.0, "bulk_error": 0.0, "alignment": 1.0, "error": 0.0, "layers": "relu"}
    arms = ("exact", "equivalent", "matched")
    rows = [{"kind": "spectrum", "arm": arm, "seed": 0, **of} for arm in arms]
    measured = {"features": 90, "dimension": 80.0, "spread": 0.1, "largest": 1.0, "understood": ""}
    for samples, outcome in ((400, "holds"), (3, "undecided"), (900, "undecided")):
        data = {"kind": "data", "arm": "exact", "seed": 0, **measured, "samples": samples}
        verdict = kernel_answer.judge(config, [data, *rows])
        assert verdict.outcome == outcome
        assert ("does not apply to my.csv" in verdict.sentence) == (outcome == "undecided")


@pytest.mark.parametrize("equal", [True, False])
def test_a_table_of_fewer_directions_than_classes_has_as_many_leading_eigenvectors(tmp_path, equal):
    """One column that equals the label leaves two different samples."""
    path = tmp_path / "my.csv"
    lines = "a,yes\nb,no\n" if equal else "a,yes\nb,no\nc,no\na,no\n"
    path.write_text("plan,churn\n" + lines * 30)
    config = KernelSpectrumConfig(data=(str(path),), label="churn", seeds=(0,), samples=60, width=0)
    rows = [row for job in EXPERIMENT.plan(config, []) for row in EXPERIMENT.run(config, job)]
    leading = [row["rank"] for row in rows if row["kind"] == "leading"]
    assert leading == ([1, 2] if equal else [1, 2, 3]) * (len(leading) // max(leading))


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


def test_a_class_of_two_samples_is_refused_in_a_sentence(tmp_path):
    file = tmp_path / "x.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(20, 5)), y=[0] * 18 + [1] * 2)
    config = KernelSpectrumConfig(data=(str(file),), samples=20)
    with pytest.raises(UsageError, match="class 1 has 2 samples; three are needed"):
        EXPERIMENTS["kernel-spectrum"].check(config)
