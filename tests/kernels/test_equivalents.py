"""The high-dimensional equivalents: the published errors, and the traps that would spoil them."""

from dataclasses import replace

import pytest
import torch

from deqlab.activations import ReLU, Tanh
from deqlab.kernels import (
    ClassStatistics,
    ExplicitKernel,
    GaussianMixture,
    ImplicitKernel,
    equivalent,
)
from tests.kernels.problems import F64, draw, published_mixture, relative_error

FROZEN = "readout+recurrent"
RELU = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
TANH = ImplicitKernel(activation=Tanh(), sigma_a2=0.2)
LISTED = {(RELU, 500): 0.0346, (RELU, 1000): 0.0204, (TANH, 500): 0.0862, (TANH, 1000): 0.0676}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] if case == (TANH, 1000) else [])
        for case in LISTED
    ],
    ids=lambda case: f"{case[0].activation}-{case[1]}",
)
def test_the_error_is_the_one_that_theory_lists(case):
    kernel, p = case
    mixture = published_mixture(p)
    x = draw(mixture)
    error = relative_error(equivalent(kernel, x, mixture).dense(), kernel.conjugate(x))
    assert error == pytest.approx(LISTED[case], rel=0.1)


@pytest.mark.parametrize("kind", ["conjugate", "tangent"])
@pytest.mark.parametrize(
    "kernel", [RELU, ExplicitKernel([ReLU()]), ExplicitKernel([ReLU(), ReLU()])], ids=repr
)
def test_the_error_falls_with_the_dimension(kernel, kind):
    errors = []
    for p in (100, 400):
        mixture = published_mixture(p)
        x = draw(mixture)
        options = {} if kind == "conjugate" or kernel is not RELU else {"trained": FROZEN}
        exact = getattr(kernel, kind)(x, **options)
        found = equivalent(kernel, x, mixture, kind=kind, **options).dense()
        errors.append(relative_error(found, exact))
    assert errors[1] < 0.65 * errors[0] < 0.16


def test_the_kernel_of_all_weights_has_an_equivalent_of_its_own():
    mixture = published_mixture(400)
    x = draw(mixture)
    exact = RELU.tangent(x, trained="all")
    own = equivalent(RELU, x, mixture, kind="tangent", trained="all")
    other = equivalent(RELU, x, mixture, kind="tangent", trained=FROZEN)
    assert relative_error(own.dense(), exact) < 0.07
    assert relative_error(other.dense(), exact) > 0.3


def test_estimates_from_labels_serve_as_well_as_the_truth():
    mixture = published_mixture(500)
    x = draw(mixture)
    exact = RELU.conjugate(x)
    known = relative_error(equivalent(RELU, x, mixture).dense(), exact)
    estimated = relative_error(equivalent(RELU, x, mixture.labels).dense(), exact)
    assert estimated < 1.2 * known


# The traps: each of these is a plausible mistake, and must be seen.


def test_a_kernel_that_is_not_centred_is_far_from_the_equivalent():
    mixture = published_mixture(400)
    x = draw(mixture)
    exact = replace(RELU, centred=False).conjugate(x)
    assert relative_error(equivalent(RELU, x, mixture).dense(), exact) > 0.8


def test_products_of_centred_covariances_are_wrong():
    mixture = published_mixture(400)
    x = draw(mixture)
    statistics = ClassStatistics.known(x, mixture)
    expected = torch.tensor([[1.0, 1.4], [1.4, 1.96]], dtype=F64)  # tr(C_a C_b) / p
    torch.testing.assert_close(statistics.products, expected)


def test_statistics_of_a_mixture_are_what_they_are_called():
    p = 300
    mixture = published_mixture(p)
    x = draw(mixture)
    found = ClassStatistics.known(x, mixture)
    torch.testing.assert_close(found.t, torch.tensor([-4.0, 4.0], dtype=F64))
    for a in (0, 1):
        own = x[mixture.labels == a] - mixture.means[a] / p**0.5
        expected = (own * own).sum(dim=1) - float(mixture.covariances[a])
        torch.testing.assert_close(found.psi[mixture.labels == a], expected)


@pytest.mark.parametrize("shape", ["scalars", "diagonals", "matrices"])
def test_covariances_may_have_three_forms(shape):
    p, labels = 40, torch.arange(2).repeat_interleave(15)
    scalars = torch.tensor([1.0, 2.0], dtype=F64)
    covariances = {
        "scalars": scalars,
        "diagonals": scalars[:, None].expand(2, p),
        "matrices": scalars[:, None, None] * torch.eye(p, dtype=F64),
    }[shape]
    mixture = GaussianMixture(torch.zeros(2, p), covariances, labels)
    x = draw(mixture)
    statistics = ClassStatistics.known(x, mixture)
    torch.testing.assert_close(
        statistics.products, torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=F64)
    )
    sizes = (x * x).sum(dim=1)
    assert sizes[:15].mean() == pytest.approx(1.0, rel=0.2)
    assert sizes[15:].mean() == pytest.approx(2.0, rel=0.2)


def test_the_estimate_of_the_squared_covariance_is_unbiased():
    """The plain one would be too large by n_a-fold: here 1 + p / n = 5."""
    p, n = 200, 50
    labels = torch.arange(2).repeat_interleave(n)
    mixture = GaussianMixture(torch.zeros(2, p), torch.tensor([1.0, 1.5]), labels)
    products = torch.stack(
        [ClassStatistics.estimated(draw(mixture, seed), labels).products for seed in range(20)]
    )
    expected = torch.tensor([[1.0, 1.5], [1.5, 2.25]], dtype=F64)
    torch.testing.assert_close(products.mean(dim=0), expected, rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (torch.zeros(4, dtype=torch.long), "one integer or string a sample"),
        (torch.zeros(10), "labels must be integers"),
        (-torch.ones(10, dtype=torch.long), "0 or more"),
        (torch.tensor([0] * 9 + [1]), "class 1 has 1 sample;"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, sentence):
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    with pytest.raises(ValueError, match=sentence):
        equivalent(RELU, x, labels)


def test_mixtures_that_do_not_fit_are_refused():
    means = torch.zeros(2, 4)
    with pytest.raises(ValueError, match="covariances must be"):
        GaussianMixture(means, torch.ones(3), torch.zeros(5, dtype=torch.long))
    with pytest.raises(ValueError, match="labels go up to 2"):
        GaussianMixture(means, torch.ones(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="must not be negative"):
        GaussianMixture(means, -torch.ones(2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="must be finite"):
        GaussianMixture(means * float("nan"), torch.ones(2), torch.tensor([0, 1]))
    mixture = GaussianMixture(means, torch.ones(2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="no draw of this mixture"):
        equivalent(RELU, torch.ones(3, 4), mixture)


def test_more_dimensions_than_samples_is_ordinary_data():
    mixture = GaussianMixture(
        torch.zeros(2, 200), torch.ones(2), torch.arange(2).repeat_interleave(20)
    )
    x = draw(mixture)
    matrix = equivalent(RELU, x, mixture)
    torch.testing.assert_close(
        matrix.eigvalsh(), torch.linalg.eigvalsh(matrix.dense()), rtol=0, atol=1e-11
    )
