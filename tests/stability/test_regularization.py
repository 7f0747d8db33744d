"""Regularisers against dense Jacobians, eigenvalues and finite differences of the weights."""

import copy
import pickle

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, JacobianFree
from deqlab.linalg.products import jacobian
from deqlab.nn import DenseCell, MultiscaleCell, SpectralNorm
from deqlab.stability import (
    DenoisingEnergy,
    FiniteDifferences,
    Hutchinson,
    Penalty,
    RadiusLoss,
)
from tests.problems import F64, Sine, generator, matrix, normal, rotation

EVERY = [
    Hutchinson(weight=0.7),
    FiniteDifferences(weight=0.7),
    DenoisingEnergy(weight=0.7),
    RadiusLoss(weight=0.7),
]
every_regularizer = pytest.mark.parametrize("regularizer", EVERY, ids=lambda r: type(r).__name__)
TWICE, ONCE = (Hutchinson(), RadiusLoss()), (FiniteDifferences(), DenoisingEnergy())


class Map(nn.Module):
    """f(z, x) = tanh(z W' + x): its Jacobian is known in closed form."""

    def __init__(self, dim=5, norm=0.9, seed=0):
        super().__init__()
        self.w = nn.Parameter(matrix(dim, norm=norm, seed=seed))

    def forward(self, z, x):
        return torch.tanh(z @ self.w.T + x)

    def jacobians(self, z, x):
        return (1 - torch.tanh(z @ self.w.T + x) ** 2)[:, :, None] * self.w


class Attention(nn.Module):
    """A fused attention among the four tokens of each sample."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, z, x):
        q = self.mix(z.reshape(-1, 1, 4, 4))
        return nn.functional.scaled_dot_product_attention(q, q, q).reshape(z.shape) + x


def exact(f, z, x):
    """|J|_F^2 / D, averaged over samples, from dense Jacobians by torch."""
    _, dense = jacobian(lambda s: f(s, x), z)
    return dense.square().sum(dim=(1, 2)).mean() / z.shape[1]


def standard_error(regularizer, f, z, x, draws):
    values = torch.stack(
        [regularizer(f, z, x, generator=generator(i)) for i in range(draws)]
    ).detach()
    return values.mean(), values.std() / draws**0.5


@pytest.mark.parametrize("regularizer", [Hutchinson(), FiniteDifferences(relative_step=1e-6)])
def test_its_mean_over_draws_is_the_frobenius_norm(regularizer):
    f, z, x = Map(), normal(3, 5, seed=1), normal(3, 5, seed=2)
    gold = exact(f, z, x)
    torch.testing.assert_close(gold, f.jacobians(z, x).square().sum() / 15)
    mean, error = standard_error(regularizer, f, z, x, 200)
    assert (mean - gold).abs() < 4 * error < 0.25 * gold  # 1 in 16,000, and tight enough to tell


def test_finite_differences_become_the_product_as_the_step_shrinks():
    f, z, x = Map(), normal(3, 5, seed=1), normal(3, 5, seed=2)
    gaps = []
    for h in (1e-2, 1e-3, 1e-4):
        v = torch.empty_like(z).bernoulli_(0.5, generator=generator(7)) * 2 - 1
        gold = torch.einsum("bij,bj->bi", f.jacobians(z, x), v).square().mean()
        gaps.append(
            (FiniteDifferences(relative_step=h)(f, z, x, generator=generator(7)) - gold).abs()
        )
    assert gaps[1] < 0.12 * gaps[0]
    assert gaps[2] < 0.12 * gaps[1]
    default = FiniteDifferences()(f, z, x, generator=generator(7))
    assert (default - gold).abs() < 1e-4 * gold


def test_the_denoising_energy_is_that_of_the_jacobian_for_little_noise():
    f, x = Map(), normal(3, 5, seed=2)
    z = normal(3, 5, seed=1)
    for _ in range(400):
        z = f(z, x).detach()  # a contraction by .9
    mean, error = standard_error(DenoisingEnergy(noise=1e-4), f, z, x, 200)
    gold = exact(f, z, x)
    assert (mean - gold).abs() < 4 * error < 0.35 * gold
    # A residual of size r adds (r / sigma)^2.
    off = z + 1e-3
    residual = (f(off, x) - off).square().mean() / (0.1**2 * off.square().mean())
    more = DenoisingEnergy(noise=0.1)(f, off, x, generator=generator(0))
    assert more < gold * 3 + 10 * residual


@every_regularizer
def test_gradients_are_those_of_finite_differences_of_the_weights_and_inputs(regularizer):
    f, z, x = Map(), normal(3, 5, seed=1), normal(3, 5, seed=2).requires_grad_()

    def loss():
        return regularizer(f, z, x, generator=generator(3))

    for tensor, slope in zip((f.w, x), torch.autograd.grad(loss(), (f.w, x)), strict=True):
        direction, ends = normal(*tensor.shape, seed=4), []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                tensor.add_(step * direction)
                ends.append(loss())
            tensor.add_(1e-5 * direction)
        gold = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close((slope * direction).sum(), gold, rtol=1e-4, atol=1e-7)


@every_regularizer
def test_no_gradient_flows_through_the_equilibrium_and_none_without_a_tape(regularizer):
    f, z, x = Map(), normal(3, 5, seed=1).requires_grad_(), normal(3, 5, seed=2)
    regularizer(f, z, x).backward()
    assert z.grad is None
    assert f.w.grad.abs().sum() > 0
    with torch.no_grad():
        value = regularizer(f, z, x)
    assert value > 0
    assert not value.requires_grad


def test_the_radius_is_that_of_dense_eigenvalues_on_rotations_too():
    for w in (rotation(1.2, scale=0.9), matrix(6, norm=1.4, seed=1), torch.diag(normal(4, seed=2))):
        weight = w.clone().requires_grad_()
        z = torch.zeros(2, len(w), dtype=F64)
        value = RadiusLoss()(lambda z, weight=weight: z @ weight.T, z, generator=generator(0))
        torch.testing.assert_close(value, torch.linalg.eigvals(w).abs().max(), rtol=1e-9, atol=0)
        (slope,) = torch.autograd.grad(value, weight)
        leaf = w.clone().requires_grad_()
        (gold,) = torch.autograd.grad(torch.linalg.eigvals(leaf).abs().max(), leaf)
        torch.testing.assert_close(slope, gold, rtol=1e-6, atol=1e-8)


def test_the_radius_costs_nothing_below_its_target():
    w = torch.diag(torch.tensor([0.5, 0.2], dtype=F64)).requires_grad_()
    f, z = lambda z: z @ w.T, torch.ones(3, 2, dtype=F64)
    assert RadiusLoss(target=0.6)(f, z) == 0
    torch.testing.assert_close(RadiusLoss(target=0.3)(f, z).detach(), torch.tensor(0.2, dtype=F64))


def test_a_defective_or_absent_jacobian_has_a_finite_gradient():
    for w in (torch.ones(3, 3, dtype=F64).tril(-1) + torch.eye(3), torch.zeros(3, 3, dtype=F64)):
        weight = w.clone().requires_grad_()
        value = RadiusLoss()(lambda z, weight=weight: z @ weight.T, torch.ones(1, 3, dtype=F64))
        value.backward()
        assert weight.grad.isfinite().all()
    for regularizer in EVERY[:2] + EVERY[3:]:
        assert regularizer(lambda z: torch.ones_like(z), torch.ones(1, 3)) == 0


@pytest.mark.parametrize("module", [Attention(), Sine.apply], ids=["fused attention", "once"])
def test_without_second_derivatives_two_say_so_and_two_work(module):
    z = torch.randn(3, 16)
    f = module if isinstance(module, nn.Module) else lambda z, x: Sine.apply(w * z) + x
    w = torch.ones(16, requires_grad=True)
    for regularizer in TWICE:
        with pytest.raises(
            NotImplementedError, match="use FiniteDifferences or DenoisingEnergy, which need none"
        ):
            regularizer(f, z, torch.ones(3, 16))
    for regularizer in ONCE:
        regularizer(f, z, torch.ones(3, 16)).backward()
    parameters = list(module.parameters()) if isinstance(module, nn.Module) else [w]
    assert all(p.grad.abs().sum() > 0 for p in parameters)


@pytest.mark.slow
@pytest.mark.usefixtures("traceable")
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_a_compiled_map_is_no_different():
    torch.manual_seed(0)
    plain = DEQ(DenseCell(3, 6, activation=torch.tanh))
    compiled = DEQ(torch.compile(plain.cell, backend="aot_eager"))
    x = torch.randn(4, 3)
    z = compiled(x)
    for regularizer in TWICE:
        with pytest.raises(NotImplementedError, match="a compiled f"):
            regularizer(compiled, z, x)
    for regularizer in ONCE:
        ours = regularizer(compiled, z, x, generator=generator(0))
        gold = regularizer(plain, z, x, generator=generator(0))
        torch.testing.assert_close(ours, gold, rtol=1e-4, atol=1e-6)
        slopes, golds = (torch.autograd.grad(value, plain.cell.free) for value in (ours, gold))
        torch.testing.assert_close(slopes, golds, rtol=1e-3, atol=1e-5)


def test_dropout_is_held_and_batch_norm_is_not_counted():
    torch.manual_seed(0)
    f = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).double()
    z, before = normal(6, 8, seed=0), copy.deepcopy(f.state_dict())
    value = FiniteDifferences(relative_step=1e-5)(f, z, batched=False)
    # Two masks would differ by 1 / h: 1e10 in place of 1.
    assert 0 < value < 100
    assert all(torch.equal(before[name], t) for name, t in f.state_dict().items())


def test_a_layer_is_asked_for_its_own_map():
    torch.manual_seed(0)
    deq = DEQ(DenseCell(3, 6, activation=torch.tanh)).double()
    x = normal(2, 4, 3, seed=0)
    z = deq(x)
    w, slope = deq.cell.weight, 1 - z.detach() ** 2
    gold = (slope[..., None] * w).square().sum() / (8 * 6)
    found = Hutchinson(probes=2000)(deq, z, x, generator=generator(0))
    torch.testing.assert_close(found, gold, rtol=0.05, atol=0)
    assert Hutchinson()(deq, z, x=x, generator=generator(0)) == Hutchinson()(
        deq, z, x, generator=generator(0)
    )
    multiscale = DEQ(MultiscaleCell(2, (4, 8)), solver=Anderson(max_steps=100))
    x = torch.randn(2, 2, 4, 4)
    for regularizer in EVERY:
        assert regularizer(multiscale, multiscale(x), x) > 0


def test_one_line_of_a_training_loop_takes_it_for_every_layer():
    torch.manual_seed(0)
    layers = [DEQ(DenseCell(3, 4)), DEQ(DenseCell(4, 4))]
    model = nn.Sequential(*layers).double()
    x = normal(5, 3, seed=0)
    penalty = Penalty(model, Hutchinson(weight=0.5, schedule=lambda step: float(step)))
    (model(x).sum() + penalty(step=2, generator=generator(0))).backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    draws, z1 = generator(0), layers[0](x)
    z2 = layers[1](z1)
    twice = Hutchinson(weight=1.0)
    loss = z2.sum() + twice(layers[0], z1, x, generator=draws)
    (loss + twice(layers[1], z2, z1, generator=draws)).backward()
    for p, gradient in zip(model.parameters(), ours, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-9, atol=1e-12)


def test_what_was_not_called_has_no_penalty_and_a_batch_is_not_kept():
    model = nn.Sequential(DEQ(DenseCell(3, 4)))
    penalty = Penalty(model, FiniteDifferences())
    with torch.no_grad():
        model(torch.randn(2, 3))
    with pytest.raises(RuntimeError, match="no DEQ of the model was called with a tape on"):
        penalty()
    for _ in range(3):
        model(
            torch.randn(2, 3),
        )
    assert len(penalty.calls) == 1
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin(torch.randn(2, 3)).shape == (2, 4)
    assert len(penalty.calls) == 1
    penalty()
    assert not penalty.calls
    with penalty:
        model(
            torch.randn(2, 3),
        )
    model(torch.randn(2, 3))
    assert not penalty.calls
    with pytest.raises(ValueError, match="Linear contains no DEQ whose Jacobian to penalise"):
        Penalty(nn.Linear(2, 2), Hutchinson())


def test_a_warm_start_is_no_input_of_the_map():
    deq = DEQ(DenseCell(3, 4))
    penalty = Penalty(deq, FiniteDifferences())
    deq(torch.randn(2, 3), z0=torch.zeros(2, 4))
    assert penalty() > 0


def test_with_a_probability_it_is_rarer_and_as_large_in_the_mean():
    f, z, x = Map(), normal(3, 5, seed=1), normal(3, 5, seed=2)
    calls = []
    seen = lambda z, x: calls.append(1) or f(z, x)  # noqa: E731
    draws = generator(0)
    rare = RadiusLoss(probability=0.25)
    values = torch.stack([rare(seen, z, x, generator=draws) for _ in range(200)])
    share = (values > 0).double().mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 200) ** 0.5
    always = RadiusLoss()(f, z, x, generator=draws)
    torch.testing.assert_close(values[values > 0], (4 * always).expand(int(200 * share)))
    calls.clear()
    assert Hutchinson(weight=0.0)(seen, z, x) == 0
    assert Hutchinson(schedule=lambda step: 0.0)(seen, z, x) == 0
    assert not calls


def test_settings_out_of_their_domain_are_refused():
    for make, message in (
        (lambda: Hutchinson(weight=-1.0), "weight must be 0 or more, and finite, got -1"),
        (lambda: Hutchinson(probability=0.0), r"probability must be in \(0, 1\], got 0"),
        (lambda: Hutchinson(probes=0), "probes must be at least 1, got 0"),
        (lambda: FiniteDifferences(relative_step=0.0), "relative_step must be more than 0"),
        (lambda: DenoisingEnergy(noise=-1.0), "noise must be more than 0, and finite, got -1"),
        (lambda: RadiusLoss(target=-0.1), "target must be 0 or more, and finite, got -0.1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(ValueError, match=r"schedule must be 0 or more.*, got -1\.0 at step 3"):
        Hutchinson(schedule=lambda step: -1.0)(torch.tanh, torch.ones(1, 2), step=3)
    with pytest.raises(TypeError, match="Hutchinson has no setting wieght: did you mean weight"):
        Hutchinson(wieght=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("regularizer", EVERY[:3], ids=lambda r: type(r).__name__)
def test_training_with_it_keeps_the_jacobian_smaller(regularizer):
    ends = []
    for weight in (0.0, 3.0):
        torch.manual_seed(0)
        deq = DEQ(
            DenseCell(4, 16, activation=torch.tanh, constraint=SpectralNorm(0.95), gain=0.3),
            gradient=JacobianFree(),
        )
        model = nn.Sequential(deq, nn.Linear(16, 1))
        penalty = Penalty(model, type(regularizer)(weight=weight))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        x = torch.randn(32, 4)
        y = (x.prod(dim=1, keepdim=True) + x.sum(dim=1, keepdim=True)).sin()
        for _ in range(60):
            optimizer.zero_grad()
            ((model(x) - y).square().mean() + penalty()).backward()
            optimizer.step()
        ends.append(exact(deq.cell, deq(x).detach(), x))
    assert ends[1] < 0.5 * ends[0]
