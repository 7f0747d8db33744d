"""Norms, dropout and losses, beside those of torchdeq."""

import pytest
import torch
from torch import nn

from deqlab.compat import torchdeq as compat
from deqlab.compat.torchdeq import apply_norm, get_deq, remove_norm, reset_deq, reset_norm
from tests.compat.gold import Tanh, torchdeq

SETTINGS = [
    {"norm_type": "weight_norm"},
    {"norm_type": "weight_norm", "learn_scale": False, "target_norm": 0.5},
    {"norm_type": "weight_norm", "clip": True, "clip_value": 0.9},
    {"norm_type": "spectral_norm"},
    {"norm_type": "spectral_norm", "learn_scale": False, "target_norm": 0.5},
    {"norm_type": "spectral_norm", "args": {"norm_no_scale": True, "norm_target_norm": 0.7}},
    {"norm_type": "none"},
]


def network():
    return nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), nn.ConvTranspose1d(2, 3, 2))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_checkpoint_of_torchdeq_gives_the_same_weights_and_gradients(settings):
    there, here = network(), network()
    torchdeq.apply_norm(there, **{**settings, "args": dict(settings.get("args", {}))})
    apply_norm(here, **settings)
    torchdeq.reset_norm(there.train())
    here.load_state_dict(there.state_dict())
    x = torch.randn(5, 4)
    found = []
    for model in (there, here):
        y = model(x)
        y.square().sum().backward()
        gradients = {
            name.replace("parametrizations.", "").split(".0")[0]: parameter.grad
            for name, parameter in model.named_parameters()
        }
        found.append((y.detach(), sorted(float(g.norm()) for g in gradients.values())))
    torch.testing.assert_close(*found)


def test_weights_are_never_out_of_date_and_spectral_norms_follow():
    model = nn.Linear(6, 6)
    before = model.weight.detach().clone()
    apply_norm(model, "spectral_norm", learn_scale=False, target_norm=0.9)
    torch.testing.assert_close(
        model.weight, 0.9 * before / torch.linalg.matrix_norm(before, 2), rtol=1e-4, atol=1e-5
    )
    free = model.parametrizations.weight.original
    with torch.no_grad():
        free.add_(torch.randn(6, 6))
    model.eval()
    reset_norm(model)
    assert abs(torch.linalg.matrix_norm(model.weight, 2) - 0.9) > 1e-3  # as it was told not to
    model.train()
    for _ in range(200):
        reset_norm(model)
    torch.testing.assert_close(torch.linalg.matrix_norm(model.weight, 2), torch.tensor(0.9))
    weight = model.weight.detach().clone()
    remove_norm(model)
    assert {name for name, _ in model.named_parameters()} == {"weight", "bias"}
    assert torch.equal(model.weight, weight)


@pytest.mark.parametrize("norm_type", ["weight_norm", "spectral_norm"])
def test_a_learned_scale_is_no_bound(norm_type):
    for apply in (torchdeq.apply_norm, apply_norm):
        model = nn.Linear(6, 6).train()
        apply(model, norm_type)
        scales = [p for name, p in model.named_parameters() if name.endswith(("_g", "original1"))]
        with torch.no_grad():
            scales[0].mul_(100)
        (torchdeq.reset_norm if apply is torchdeq.apply_norm else reset_norm)(model)
        assert torch.linalg.matrix_norm(model.weight.detach(), 2) > 10


def test_which_modules_are_normalised():
    model = nn.ModuleDict(
        {"head": nn.Linear(2, 2), "body": nn.Linear(2, 2), "norm": nn.LayerNorm(2)}
    )
    apply_norm(model, prefix_filter_out="head", filter_out=["nothing"])
    assert not hasattr(model["head"], "parametrizations")
    assert hasattr(model["body"], "parametrizations")
    with pytest.raises(ValueError, match="the weight of body is parametrised already"):
        apply_norm(model, filter_out="head")
    with pytest.raises(ValueError, match="norm_type is weight_norm, spectral_norm or none"):
        apply_norm(model, "batch_norm")
    with pytest.raises(TypeError, match="scale is no setting of a norm"):
        apply_norm(model, scale=2)


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(8, 8), compat.VariationalDropout(0.5)
        apply_norm(self, "spectral_norm", learn_scale=False, target_norm=0.4)

    def forward(self, z, x):
        return torch.tanh(self.drop(self.linear(z)) + x)


def test_a_cell_trains_with_norm_and_dropout_and_keeps_its_mask_until_it_is_reset():
    cell, deq, x = (
        Cell().double(),
        get_deq(ift=True, f_tol=1e-10, b_tol=1e-10),
        torch.randn(3, 8).double(),
    )
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.1)
    losses, masks = [], []
    for _ in range(2):
        reset_deq(cell)
        assert cell.drop.mask is None
        (z,), info = deq(lambda z: cell(z, x), torch.zeros_like(x))
        torch.testing.assert_close(cell(z, x), z)  # the mask of the solve
        loss = z.square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        masks.append(cell.drop.mask)
        assert info.solution.converged.all()
    assert len(set(losses)) == 2
    assert not torch.equal(masks[0], masks[1])
    with pytest.raises(ValueError, match=r"call reset_dropout\(model\)"):
        cell(torch.zeros(2, 8).double(), x[:2])
    assert torch.equal(cell.eval().drop(x), x)


@pytest.mark.parametrize("token_first", [True, False])
@pytest.mark.parametrize(
    "name", [name for name in compat.__all__ if name.startswith("VariationalDrop")]
)
def test_masks_have_the_shapes_of_torchdeq(name, token_first):
    settings = {} if name == "VariationalDropout" else {"token_first": token_first}
    dims = int(name[-2]) + 2 if name.endswith("d") else 3
    x = torch.ones(64, *range(3, 2 + dims))
    there, here = getattr(torchdeq, name)(0.3, **settings), getattr(compat, name)(0.3, **settings)
    there(x)
    y = here(x)
    assert here.mask.shape == there.mask.shape
    assert torch.equal(y, here(x))
    assert set(y.unique().tolist()) == {0.0, float(1 / torch.tensor(0.7))}
    assert abs(y.mean() - 1) < 5 * (0.3 / 0.7 / here.mask.numel()) ** 0.5
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        type(here)(1.0)


@pytest.mark.parametrize("weight", ["exp", "linear"])
def test_fixed_point_correction_is_that_of_torchdeq(weight):
    x, y = [torch.randn(4) for _ in range(3)], torch.randn(4)
    arguments = (nn.functional.mse_loss, (x, y), weight)
    (there, parts), (here, ours) = (
        module.fp_correction(*arguments, return_loss_values=True, gamma=0.6)
        for module in (torchdeq, compat)
    )
    torch.testing.assert_close(here, there)
    assert ours == parts
    half = compat.fp_correction(*arguments[:2], weight_func=lambda n, k: 0.5 * (k == n - 1))
    torch.testing.assert_close(half, 0.5 * nn.functional.mse_loss(x[-1], y))
    torch.testing.assert_close(
        compat.fp_correction(*arguments[:2], "const"), torch.tensor(sum(ours))
    )
    with pytest.raises(ValueError, match="lists of 3, 2 entries"):
        compat.fp_correction(nn.functional.mse_loss, (x, x[:2]))
    with pytest.raises(ValueError, match="weight_func is one of exp, linear, const"):
        compat.fp_correction(nn.functional.mse_loss, (x, y), "cosine")


def test_the_losses_of_the_jacobian():
    f = Tanh.draw(rows=4)
    z = f.equilibrium().requires_grad_()
    jacobians = (1 - z.detach() ** 2)[:, :, None] * f.weight.detach()
    gold = jacobians.square().sum() / z.numel()
    found = compat.jac_reg(f(z), z, vecs=400)
    torch.testing.assert_close(found, gold, rtol=0.15, atol=0)  # some 4 deviations
    assert f.gradient(compat.jac_reg(f(z), z))[0].abs().sum() > 0
    vector, radius = compat.power_method(f(z), z)
    torch.testing.assert_close(radius, torch.linalg.eigvals(jacobians).abs().amax(dim=1))
    assert vector.shape == z.shape
    turn = torch.tensor([[0.0, -0.9], [0.9, 0.0]])
    z = torch.ones(2, 2, requires_grad=True)
    for module, radius in ((torchdeq, 0.0), (compat, 0.9)):
        found = module.power_method(z @ turn.T, z)[1]
        torch.testing.assert_close(found, torch.full((2,), radius), rtol=1e-5, atol=1e-6)
