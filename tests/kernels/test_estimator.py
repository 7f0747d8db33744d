"""The kernels inside scikit-learn: its own checks, and the same numbers as outside."""

import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from sklearn.datasets import load_iris
from sklearn.decomposition import KernelPCA
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks

from deqlab.activations import Erf, ReLU, Tanh
from deqlab.kernels import ImplicitKernel
from deqlab.kernels.estimator import DEQCovariance, DEQKernel
from deqlab.kernels.solved_pairs import SolvedPairs

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


@parametrize_with_checks(
    [DEQKernel(), DEQKernel(Erf(), sigma_a2=0.1, kind="tangent", trained="all")]
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", ["conjugate", "tangent"])
def test_the_transformer_and_the_callable_are_the_kernel(kind):
    train, test = X[::2], X[1::2]
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.3)
    tau0 = float(np.sqrt((train**2).sum(axis=1).mean()))
    options = {"trained": "all"} if kind == "tangent" else {}
    pair = torch.as_tensor(test), torch.as_tensor(train)
    expected = getattr(kernel, kind)(*pair, tau0=tau0, **options)
    estimator = DEQKernel(sigma_a2=0.3, kind=kind, **options)
    found = estimator.fit(train).transform(test)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(estimator(test, train), expected, rtol=1e-12)
    np.testing.assert_allclose(estimator.fit_transform(train), estimator(train), rtol=1e-12)


def test_it_goes_where_scikit_learn_takes_kernels():
    svc = SVC(kernel=DEQKernel(sigma_a2=0.2))
    assert cross_val_score(svc, X, Y, cv=3).mean() > 0.9
    pipeline = make_pipeline(StandardScaler(), DEQKernel(), SVC(kernel="precomputed"))
    search = GridSearchCV(pipeline, {"deqkernel__sigma_a2": [0.1, 0.3]}, cv=3).fit(X, Y)
    assert search.best_score_ > 0.9
    ridge = KernelRidge(alpha=0.1, kernel="precomputed")
    target = np.sin(X[:, 0])
    assert make_pipeline(DEQKernel(Erf()), ridge).fit(X, target).score(X, target) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["conjugate", "tangent"])
def test_a_gaussian_process_has_the_mean_of_its_formula(kind):
    target, train, test = np.sin(X[::3, 0]), X[::3], X[1::3]
    options = {"trained": "all"} if kind == "tangent" else {}
    covariance = DEQCovariance(2.0, sigma_a2=0.2, kind=kind, **options)
    process = GaussianProcessRegressor(covariance, alpha=0.01, optimizer=None).fit(train, target)
    mean, deviation = process.predict(test, return_std=True)
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    matrix = {
        name: getattr(kernel, kind)(
            torch.as_tensor(a), torch.as_tensor(b), tau0=2.0, **options
        ).numpy()
        for name, a, b in (("train", train, train), ("cross", test, train), ("test", test, test))
    }
    noisy = matrix["train"] + 0.01 * np.eye(len(train))
    gain = np.linalg.solve(noisy, matrix["cross"].T).T
    np.testing.assert_allclose(mean, gain @ target, rtol=1e-8, atol=1e-9)
    variance = np.diag(matrix["test"] - gain @ matrix["cross"].T)
    np.testing.assert_allclose(deviation**2, variance, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_the_scale_of_a_gaussian_process_is_fitted():
    target = 3 * np.sin(X[::3, 0]) + np.random.default_rng(0).normal(size=len(X[::3]))
    kernel = ConstantKernel(1.0) * DEQCovariance(2.0) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel).fit(X[::3], target)
    before = GaussianProcessRegressor(kernel, optimizer=None).fit(X[::3], target)
    assert process.log_marginal_likelihood_value_ > before.log_marginal_likelihood_value_
    classifier = GaussianProcessClassifier(DEQCovariance(2.0)).fit(X[::3], Y[::3] > 0)
    assert classifier.score(X, Y > 0) > 0.95


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sigma_a2": -1.0}, "sigma_a2 must be 0 or more"),
        ({"kind": "both"}, "kind is"),
        ({"kind": "tangent"}, r"trained is .* got None"),
        ({"kind": "tangent", "trained": "some"}, "trained is"),
        ({"activation": "relu"}, "activation must be one of deqlab.activations, got 'relu'"),
        ({"activation": Tanh(), "sigma_a2": 9.0, "sigma_b2": 1.0}, "does not contract"),
    ],
)
def test_settings_are_refused_when_it_is_fitted(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        DEQKernel(**settings).fit(X)


SMALL = X[::6]
TARGET = np.sin(SMALL[:, 0])


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_what_calls_kernels_of_whole_matrices_has_the_fit_of_the_kernel_matrix(scale):
    """KernelRidge, KernelPCA, Nystroem, SpectralClustering: none asks pair by pair."""
    x, test = scale * SMALL, scale * X[1::6]
    kernel = DEQKernel(sigma_a2=0.2)
    train, cross = kernel(x), kernel(test, x)
    alpha = 0.1 * scale**2
    ridge = KernelRidge(kernel=kernel, alpha=alpha).fit(x, TARGET)
    expected = cross @ np.linalg.solve(train + alpha * np.eye(len(x)), TARGET)
    np.testing.assert_allclose(ridge.predict(test), expected, rtol=1e-8)
    pca = KernelPCA(kernel=kernel, n_components=3).fit(x)
    by_matrix = KernelPCA(kernel="precomputed", n_components=3).fit(train)
    found, expected = np.abs(pca.transform(test)), np.abs(by_matrix.transform(cross))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * scale)
    assert np.isfinite(OneClassSVM(kernel=kernel).fit(x).decision_function(test)).all()
    if scale == 1:  # their own tolerances are absolute
        features = Nystroem(kernel=kernel, n_components=len(x), random_state=0).fit_transform(x)
        np.testing.assert_allclose(features @ features.T, train, rtol=1e-6, atol=1e-9)
        clusters = SpectralClustering(2, affinity=kernel, random_state=0).fit_predict(x)
        by_matrix = SpectralClustering(2, affinity="precomputed", random_state=0).fit(train)
        assert clusters.tolist() == by_matrix.labels_.tolist()


def test_training_data_in_parts_need_tau0():
    with pytest.raises(ValueError, match=r"y is a part of x, as scikit-learn .* set tau0"):
        Nystroem(kernel=DEQKernel(), n_components=20, n_jobs=2).fit(SMALL)
    one, two = (
        KernelPCA(kernel=DEQKernel(tau0=2.0), n_components=2, n_jobs=jobs).fit_transform(SMALL)
        for jobs in (1, 2)
    )
    np.testing.assert_allclose(np.abs(one), np.abs(two), rtol=1e-9, atol=1e-12)
    # Every other row is no part of the rest, though they lie in one array.
    assert DEQKernel()(X[1::2], X[::2][:70]).shape == (75, 70)


def test_a_gaussian_process_is_told_which_kernel_it_needs():
    with pytest.raises(TypeError, match=r"take DEQCovariance\(tau0\)"):
        GaussianProcessRegressor(DEQKernel()).fit(SMALL, TARGET)


@pytest.mark.parametrize("phi", [ReLU(), Erf(), pytest.param(Tanh(), marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["conjugate", "tangent"])
def test_variances_are_the_diagonal_at_the_cost_of_one_row(phi, kind, monkeypatch):
    kernel = DEQCovariance(2.0, phi, kind=kind, trained="all")
    x = np.concatenate([SMALL, 1e-6 * SMALL, SMALL[:2]])
    np.testing.assert_allclose(kernel.diag(x), np.diag(kernel(x)), rtol=1e-12)
    entries, solve = [], SolvedPairs.solve

    def counted(dual, a, b, c, **variances):
        entries.append(torch.broadcast_tensors(a, b, c)[0].numel())
        return solve(dual, a, b, c, **variances)

    monkeypatch.setattr(SolvedPairs, "solve", counted)
    kernel.diag(x)
    if phi.closed_form:
        assert entries == [len(x)]


def test_rows_of_any_container_are_samples_of_the_callable():
    kernel = DEQKernel()
    expected = kernel(SMALL)
    for x in (SMALL.tolist(), SMALL.astype(">f8"), SMALL[::-1].copy()[::-1], torch.tensor(SMALL)):
        np.testing.assert_array_equal(kernel(x), expected)
