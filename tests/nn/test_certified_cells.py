"""What parametrised cells promise, tried: bounds, and changes of weights that they allow."""

import pytest
import torch
from torch.nn.functional import relu6, softsign

from deqlab import DEQ, Anderson, Implicit, Picard, fixed_point
from deqlab.gradients import Dense
from deqlab.nn import ConcaveCell, InfinityNorm, LipschitzCell, MonotoneConvCell, monotone
from deqlab.solvers import MonotoneMap, PeacemanRachford
from tests.contracts.cells import dense_operator
from tests.problems import F64, normal

SPLIT = PeacemanRachford(alpha=0.2, rtol=1e-9, max_steps=3000, patience=3000)


def test_a_lipschitz_cell_moves_no_farther_than_its_bound_and_nearly_as_far():
    torch.manual_seed(0)
    cell = LipschitzCell(4, 6, bound=1.5, gain=0.05).double()
    with torch.no_grad():  # a large gain from x, which the bound has to tame
        cell.inject.weight.copy_(3 * torch.linalg.qr(normal(6, 4, seed=1))[0])
        cell.inject.bias.fill_(20.0)  # all units are on
    x = normal(1, 4, seed=2).requires_grad_()
    deq = DEQ(cell, solver=SPLIT, gradient=Implicit(solver=Dense()), on_failure="raise")
    jacobian = torch.autograd.functional.jacobian(lambda x: deq(x)[0], x)[:, 0]
    slope = float(torch.linalg.matrix_norm(jacobian, ord=2))
    assert 0.5 * cell.bound < slope <= cell.bound
    assert cell.certificate().holds


def test_a_lipschitz_cell_survives_the_change_of_weights_that_it_allows():
    torch.manual_seed(0)
    cell = LipschitzCell(3, 6, bound=4.0, gain=1.0).double()
    with torch.no_grad():
        cell.log_metric.copy_(0.5 * normal(6, seed=3))
    known, w = cell.certificate(), cell.weight.detach()
    metric = torch.diag(cell.metric.detach())
    slack = 2 * metric - metric @ w - w.T @ metric
    assert known.margin == pytest.approx(float(torch.linalg.eigvalsh(slack)[0]))
    # The direction in which the inequality gives way first.
    worst = torch.linalg.eigh(slack)[1][:, 0]
    left = torch.linalg.inv(metric) @ worst
    change = torch.outer(left / left.norm(), worst) * known.perturbation * 0.999
    q = normal(5, 6, seed=4)
    moved = fixed_point(MonotoneMap(cell.activation), 0 * q, w + change, q, solver=SPLIT).value
    still = fixed_point(MonotoneMap(cell.activation), 0 * q, w, q, solver=SPLIT).value
    inequality = slack - metric @ change - change.T @ metric
    assert torch.linalg.eigvalsh(inequality)[0] > 0
    assert (moved - still).norm() > 0
    other = q + 0.1 * normal(5, 6, seed=5)
    beside = fixed_point(MonotoneMap(cell.activation), 0 * q, w, other, solver=SPLIT).value
    ratio = (beside - still).norm(dim=1) / (other - q).norm(dim=1)
    assert ratio.max() <= known.lipschitz


@pytest.mark.slow
def test_a_monotone_convolution_survives_a_change_of_the_size_of_its_margin():
    torch.manual_seed(0)
    cell = MonotoneConvCell(1, 2, margin=0.5, border=False).double()
    with torch.no_grad():
        cell.symmetric.scale.fill_(2.0)
        cell.skew.scale.fill_(2.0)
    known, w = cell.certificate(), dense_operator(cell, ((2, 4, 4),))
    values, basis = torch.linalg.eigh(torch.eye(32, dtype=F64) - (w + w.T) / 2)
    assert values[0] >= known.margin == known.perturbation == 0.5
    worst = basis[:, 0]
    q = 3 * normal(4, 32, seed=6)
    f = MonotoneMap(cell.activation)
    still = fixed_point(f, 0 * q, w, q, solver=SPLIT).value
    for share in (0.5, 0.98):
        size = share * known.perturbation
        moved = fixed_point(f, 0 * q, w + size * torch.outer(worst, worst), q, solver=SPLIT).value
        bound = size * still.norm(dim=1) / (known.margin - size)
        assert ((moved - still).norm(dim=1) <= bound).all()
    beyond = w + (values[0] + 0.3) * torch.outer(worst, worst)
    least = torch.linalg.eigvalsh(torch.eye(32, dtype=F64) - (beyond + beyond.T) / 2)[0]
    assert least < 0


@pytest.mark.parametrize("activation", [torch.tanh, torch.sigmoid, softsign, relu6])
def test_a_positive_concave_cell_contracts_in_thompsons_metric_to_one_point(activation):
    torch.manual_seed(0)
    cell = ConcaveCell(3, 6, activation=activation, gain=30.0, floor=0.2).double()
    assert torch.linalg.eigvals(cell.weight).abs().max() > 2  # no contraction in any norm
    x = normal(2, 3, seed=7) - 3
    known = cell.certificate()
    one, other = cell(torch.zeros(2, 6, dtype=F64), x), cell(1e3 * normal(2, 6, seed=8).abs(), x)
    gap = (one.log() - other.log()).abs().amax(1)
    for _ in range(60):
        one, other = cell(one, x), cell(other, x)
        new = (one.log() - other.log()).abs().amax(1)
        assert (new <= known.rate * gap + 1e-14).all()
        gap = new
    # The worst that concavity allows between f(0) and the bound of sigma, tried point by point.
    top = 6.0 if activation is relu6 else 1.0
    t = float(activation(torch.tensor(0.2, dtype=F64))) / top
    c = torch.linspace(1 + 1e-6, 1 / t, 100_001, dtype=F64)
    worst = ((t + (1 - t) * c).log() / c.log()).max()
    assert known.rate == pytest.approx(float(worst), rel=1e-6)
    assert known.rate < 1
    deq = DEQ(cell, solver=Picard(rtol=1e-10, max_steps=2000), on_failure="raise")
    assert (deq(x) > 0).all()


def test_the_infinity_norm_scales_only_the_rows_that_are_too_large():
    free = normal(4, 4, seed=9)
    free[0] *= 0.01
    w = InfinityNorm(0.8)(free)
    assert torch.equal(w[0], free[0])
    norms = w.abs().sum(1)
    torch.testing.assert_close(norms[1:], torch.full((3,), 0.8, dtype=F64))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LipschitzCell(2, 2, bound=0.0), "bound must be more than 0, and finite, got 0.0"),
        (lambda: ConcaveCell(2, 2, floor=0.0), "floor must be more than 0, and finite, got 0.0"),
        (lambda: MonotoneConvCell(2, 2, margin=-1.0), "margin must be more than 0, and finite"),
        (lambda: InfinityNorm(1.5), r"bound must be in \(0, 1\], got 1.5"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_an_activation_that_is_not_concave_and_bounded_is_refused():
    with pytest.raises(TypeError, match=r"bounded, and concave on \[0, inf\): .*got .*relu"):
        ConcaveCell(2, 2, activation=torch.relu)


def test_images_of_the_wrong_shape_are_refused():
    with pytest.raises(
        ValueError, match=r"takes x of shape \(..., 2, height, width\).*got \(1, 3,"
    ):
        DEQ(MonotoneConvCell(2, 3))(torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("channels", "dense", "weights"),
    [(5, True, 64 * 5 + 5 + 2 * 25 + 60), (3, False, 30 + 162 + 2 + 130), ((2, 3), False, None)],
)
def test_a_monotone_classifier_takes_a_training_step(channels, dense, weights):
    torch.manual_seed(0)
    model = monotone((1, 8, 8), channels, 10, dense=dense, on_failure="raise")
    if weights is not None:
        assert sum(p.numel() for p in model.parameters()) == weights
    x, y = torch.randn(16, 1, 8, 8), torch.arange(16) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    deq = model[0][1]
    assert dense or deq.cell.certificate().holds
    exact = DEQ(deq.cell, solver=Anderson(rtol=1e-6, max_steps=200))
    with torch.no_grad():
        assert exact.solve(model[0][0](x)).converged.all()
