"""What only these estimators can show: equilibria, twins of equal cost, and export as a whole."""

import io
import pickle

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from deqlab.costs import num_parameters
from deqlab.estimators import (
    DEQClassifier,
    DEQRegressor,
    ExplicitClassifier,
    ExplicitRegressor,
    twin,
)
from deqlab.estimators.training import Settings, split
from deqlab.estimators.twins import flops_per_step

SMALL = {"max_epochs": 6, "learning_rate": 2e-2, "random_state": 0}


def table(n=120, p=5, seed=0):
    """Features of very different scales, classes that are a nonlinear function, and a number."""
    x = np.random.default_rng(seed).normal(size=(n, p)) * 10.0 ** np.arange(-2, p - 2) + 3
    z = (x - 3) / 10.0 ** np.arange(-2, p - 2)
    return x, np.where(z[:, 0] + z[:, 1] > 0, "yes", "no"), 100 + 50 * z[:, 0] - 20 * z[:, 1]


X, LABELS, NUMBERS = table()
CLASSIFIER = DEQClassifier(width=6, **SMALL).fit(X, LABELS)
REGRESSOR = DEQRegressor(width=6, **SMALL | {"max_epochs": 40}).fit(X, NUMBERS)


def test_the_equilibrium_by_dense_algebra():
    """Newton's method from zero, on the weights as they are, finds what the estimator answers."""
    cell, readout = REGRESSOR.module_.body[0].cell, REGRESSOR.module_.body[1]
    w = cell.weight.detach().numpy()
    assert np.linalg.norm(w, 2) <= 0.9 + 1e-12
    mean, scale = X[_kept(NUMBERS)].mean(axis=0), X[_kept(NUMBERS)].std(axis=0)
    inject = cell.inject.weight.detach().numpy(), cell.inject.bias.detach().numpy()
    q = (X - mean) / scale @ inject[0].T + inject[1]
    z = np.zeros_like(q)
    for _ in range(30):
        on = (z @ w.T + q > 0)[:, :, None]
        step = np.linalg.solve(np.eye(6) - on * w, (np.maximum(z @ w.T + q, 0) - z)[:, :, None])
        z = z + step[:, :, 0]
    found = REGRESSOR.solve(X)
    assert found.converged.all()
    np.testing.assert_allclose(found.value.numpy(), z, rtol=0, atol=1e-2 * np.abs(z).max())
    target = NUMBERS[_kept(NUMBERS)]
    answers = z @ readout.weight.detach().numpy().T + readout.bias.detach().numpy()
    answers = target.mean() + target.std() * answers[:, 0]
    np.testing.assert_allclose(REGRESSOR.predict(X), answers, rtol=0, atol=1e-2 * target.std())
    assert REGRESSOR.score(X, NUMBERS) > 0.9


def _kept(y):
    settings = Settings(
        **{name: getattr(REGRESSOR, name) for name in Settings.__annotations__ if name != "seed"},
        seed=int(np.random.RandomState(0).randint(2**31 - 1)),
    )
    return split(X, y, settings, stratify=False)[0].numpy()


def test_the_certificate_is_that_of_the_trained_cell():
    certificate = CLASSIFIER.certificate()
    w = CLASSIFIER.module_.body[0].cell.weight.detach()
    assert certificate.unique
    assert certificate.margin == pytest.approx(1 - torch.linalg.svdvals(w)[0].item())


@pytest.mark.slow
def test_held_out_rows_end_training_and_choose_the_weights():
    model = DEQClassifier(width=6, **SMALL | {"max_epochs": 500, "patience": 3}).fit(X, LABELS)
    losses = [row["validation_loss"] for row in model.history_]
    assert 4 <= len(losses) < 500
    assert np.argmin(losses) == len(losses) - 4
    short = DEQClassifier(width=6, **SMALL | {"max_epochs": len(losses) - 3}).fit(X, LABELS)
    np.testing.assert_array_equal(model.predict_proba(X), short.predict_proba(X))


def test_a_class_that_weighs_more_is_predicted_more():
    weight = {"yes": 50.0, "no": 1.0}
    model = DEQClassifier(width=6, class_weight=weight, **SMALL).fit(X, LABELS)
    assert (model.predict(X) == "yes").sum() > (CLASSIFIER.predict(X) == "yes").sum()


@pytest.mark.parametrize("fitted", [CLASSIFIER, REGRESSOR])
def test_twins_cost_what_the_deq_costs(fitted):
    y = LABELS if fitted is CLASSIFIER else NUMBERS
    kind = ExplicitClassifier if fitted is CLASSIFIER else ExplicitRegressor
    settings = {"max_epochs": 1}
    same_size = twin(fitted, "parameters").set_params(**settings).fit(X, y)
    assert type(same_size) is kind
    assert same_size.learning_rate == fitted.learning_rate
    ratio = num_parameters(same_size.module_) / num_parameters(fitted.module_)
    assert ratio == pytest.approx(1, abs=0.1)
    same_flops = twin(fitted, "flops").set_params(**settings).fit(X, y)
    assert flops_per_step(same_flops) / flops_per_step(fitted) == pytest.approx(1, abs=0.1)
    assert num_parameters(same_flops.module_) > 1.5 * num_parameters(fitted.module_)


def test_in_a_pipeline_in_a_grid_search():
    model = make_pipeline(PolynomialFeatures(), ExplicitClassifier(batch_size=16, **SMALL))
    grid = {"explicitclassifier__hidden": [(2,), (8, 8)]}
    search = GridSearchCV(model, grid, cv=2).fit(X, LABELS)
    assert search.best_score_ > 0.7
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(X), search.predict_proba(X))


@pytest.mark.parametrize("fitted", [CLASSIFIER, REGRESSOR])
@pytest.mark.slow
@pytest.mark.usefixtures("traceable")
def test_it_exports_as_a_whole_for_any_number_of_rows(fitted):
    x = torch.from_numpy(X)
    rows = {0: torch.export.Dim("rows")}
    with torch.no_grad():
        program = torch.export.export(fitted.module_, (x[:8],), dynamic_shapes=(rows,))
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        found = torch.export.load(file).module()(x)
    # Rounding differs, which Anderson's method amplifies, far below its tolerance of 1e-4.
    if fitted is REGRESSOR:
        np.testing.assert_allclose(found, fitted.predict(X), rtol=0, atol=1e-6 * NUMBERS.std())
    else:
        np.testing.assert_allclose(found.softmax(1), fitted.predict_proba(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"bound": 1.0}, "bound must lie between 0 and 1"),
        ({"width": 0}, "width must be at least 1"),
        ({"rtol": -1.0}, "rtol must be more than 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be more than 0"),
        ({"patience": 0}, "patience must be at least 1"),
    ],
)
def test_settings_outside_of_their_domain(setting, message):
    with pytest.raises(ValueError, match=message):
        DEQClassifier(**setting).fit(X, LABELS)


def test_bad_data():
    with pytest.raises(ValueError, match="y has one class, yes"):
        DEQClassifier().fit(X, np.full(len(X), "yes"))
    with pytest.raises(ValueError, match='equal is "parameters" or "flops"'):
        twin(CLASSIFIER, "seconds")
    with pytest.raises(TypeError, match="fitted must be a DEQClassifier or DEQRegressor"):
        twin(ExplicitClassifier(), "flops")


def test_rows_that_are_held_out_have_every_class():
    y = np.repeat([0, 1, 2], [90, 20, 10])
    settings = Settings(
        learning_rate=1.0,
        weight_decay=0.0,
        batch_size=1,
        max_epochs=1,
        patience=1,
        validation_fraction=0.2,
        seed=3,
    )
    kept, held_out = split(np.zeros((120, 1)), y, settings, stratify=True)
    assert np.bincount(y[held_out]).tolist() == [18, 4, 2]
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(120))
    kept, held_out = split(np.zeros((9, 1)), y[:9], settings, stratify=True)
    assert (len(kept), len(held_out)) == (9, 0)
