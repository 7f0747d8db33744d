"""Where solves start: an equilibrium that is the only one does not notice, others do."""

import copy
import io

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Picard
from deqlab.gradients import Loops
from deqlab.nn import BestOf, DenseCell, Learned, Noise, RecurrentCell, SpectralNorm, Zeros


class Doubled(nn.Module):
    """z = tanh(4 z) + 0 x: two attracting fixed points, and 0 between them."""

    def forward(self, z, x):
        return torch.tanh(4 * z + 0 * x)


def test_each_start_is_where_the_solve_begins():
    x = torch.randn(3, 2)
    first = Picard(rtol=1e-3, record=(1,))
    own = torch.full((3, 2), 0.25)

    class Cell(nn.Module):
        def initial(self, x):
            return own

        def forward(self, z, x):
            return 0.5 * torch.tanh(z) + x

    def begun(start):
        return DEQ(Cell(), solver=first, start=start).solve(x).states[0]

    assert torch.equal(begun(None), own)
    assert torch.equal(begun(Zeros()), torch.zeros(3, 2))
    torch.manual_seed(1)
    drawn = begun(Noise(0.3))
    assert drawn.abs().max() <= 0.6
    assert drawn.unique().numel() == 6
    network = nn.Linear(2, 2)
    assert torch.equal(begun(Learned(network)), network(x))
    assert torch.equal(begun(lambda own, x: own + x), own + x)


def test_a_z0_of_the_call_goes_before_the_start_of_the_layer():
    x, z0 = torch.randn(3, 2), torch.randn(3, 2)
    layer = DEQ(nn.Bilinear(2, 2, 2), solver=Picard(record=(1,)), start=Zeros())
    layer.on_failure = "ignore"
    assert torch.equal(layer.solve(x, z0=z0).states[0], z0)


def test_noise_has_its_deviation_in_every_part_of_a_state():
    torch.manual_seed(0)
    cell = RecurrentCell(nn.LSTMCell(2, 64))
    h, c = Noise(2.0)(cell.initial(torch.randn(200, 2)))
    for part in (h, c):
        assert part.shape == (200, 64)
        # Cut off at two deviations, a normal number has .8796 of its deviation.
        assert part.std() == pytest.approx(2 * 0.8796, rel=0.03)
        assert part.mean().abs() < 0.1
        assert part.abs().max() <= 4
    assert not torch.equal(h, c)


def test_the_only_equilibrium_does_not_depend_on_the_start():
    torch.manual_seed(0)
    cell = DenseCell(4, 8, constraint=SpectralNorm(0.6))
    x = torch.randn(5, 4)
    values = [
        DEQ(cell, solver=Anderson(rtol=1e-6), start=start).eval()(x)
        for start in (None, Zeros(), Noise(), Noise(5.0), BestOf(3))
    ]
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], rtol=1e-4, atol=1e-5)


def test_the_best_of_several_starts_is_chosen_sample_by_sample():
    torch.manual_seed(0)
    x = torch.zeros(64, 1)

    class Part(nn.Module):
        """Attracts to 1 from above 0, and wanders for ever from below."""

        def initial(self, x):
            return torch.zeros_like(x)

        def forward(self, z, x):
            return torch.where(z > 0, 0.5 * z + 0.5, -1 - (z + 1.7).abs())

    one = DEQ(Part(), solver=Picard(rtol=1e-3), start=Noise(), on_failure="ignore")
    alone = one.solve(x)
    assert 0.3 < alone.converged.double().mean() < 0.7
    seen = []
    layer = DEQ(Part(), solver=Picard(rtol=1e-3), start=BestOf(12), on_failure="raise")
    layer.observers.append(seen.append)
    best = layer.solve(x)
    torch.testing.assert_close(best.value, torch.ones_like(x), rtol=2e-3, atol=0)
    assert len(seen) == 1  # the trials are nobody's business
    assert layer.last.evaluations == best.evaluations
    assert best.evaluations > 12


def test_loops_are_taken_again_from_the_start_that_was_best():
    torch.manual_seed(0)
    x = torch.zeros(32, 1, requires_grad=True)
    layer = DEQ(
        Doubled(), solver=Picard(rtol=1e-3), gradient=Loops(steps=4), start=BestOf(6, Noise(0.2))
    )
    found = layer.solve(x)
    assert found.evaluations == 7 * 5
    single = DEQ(Doubled(), solver=Picard(rtol=1e-3), gradient=Loops(steps=4), start=Noise(0.2))
    assert found.residual.mean() < single.solve(x).residual.mean()
    found.value.sum().backward()
    assert x.grad is not None


def test_states_with_dimensions_in_front_are_chosen_by_vector():
    torch.manual_seed(0)
    cell = DenseCell(3, 5, constraint=SpectralNorm(0.5))
    x = torch.randn(2, 4, 3)
    found = DEQ(cell, start=BestOf(2)).solve(x)
    assert found.value.shape == (2, 4, 5)
    assert found.converged.shape == (8,)
    torch.testing.assert_close(found.value, DEQ(cell)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_start_can_learn_the_equilibrium_and_saves_evaluations():
    torch.manual_seed(0)
    cell = DenseCell(4, 8, constraint=SpectralNorm(0.8))
    layer = DEQ(cell, solver=Anderson(rtol=1e-3), start=Learned(nn.Linear(4, 8)))
    x = torch.randn(256, 4)
    for parameter in cell.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam(layer.start.parameters(), lr=3e-2)
    far = []
    for _ in range(150):
        layer(x)
        loss = layer.start.distance()
        far.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert far[-1] < 0.2 * far[0]
    trained = layer.solve(x).evaluations
    layer.start = None
    assert trained < layer.solve(x).evaluations


def test_distance_is_that_of_the_last_solve_in_train_mode_and_asked_once():
    layer = DEQ(DenseCell(2, 3), start=Learned(nn.Linear(2, 3)))
    x = torch.randn(4, 2)
    layer.eval()(x)
    with pytest.raises(RuntimeError, match="train mode"):
        layer.start.distance()
    z = layer.train()(x)
    start = layer.start.network(x)
    expected = (start - z).square().sum() / z.square().sum()
    torch.testing.assert_close(layer.start.distance(), expected.detach().requires_grad_())
    with pytest.raises(RuntimeError, match="once"):
        layer.start.distance()


def test_a_start_is_saved_and_moved_with_its_layer():
    layer = DEQ(DenseCell(2, 3), start=Learned(nn.Linear(2, 3)))
    layer(torch.randn(4, 2))
    assert "start.network.weight" in layer.state_dict()
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    torch.load(file, weights_only=False)
    assert copy.deepcopy(layer).double().start.network.weight.dtype == torch.float64


def test_a_start_of_another_form_is_refused_in_a_sentence():
    layer = DEQ(DenseCell(2, 3), start=Learned(nn.Linear(2, 4)))
    with pytest.raises(ValueError, match=r"z0 is float32 of shape \(5, 4\)"):
        layer(torch.randn(5, 2))


@pytest.mark.parametrize(("make", "named"), [(lambda: Noise(0.0), "std"), (lambda: BestOf(0), "c")])
def test_what_is_out_of_its_domain_is_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
