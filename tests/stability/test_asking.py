"""Who is asked for a certificate, and what each of them answers."""

import pytest
import torch
from torch import nn

from deqlab import DEQ
from deqlab.activations import ELU, Erf, HardTanh, LeakyReLU, LReLU, ReLU, Swish, Tanh
from deqlab.bias.diagonal import DiagonalCell, DiagonalDEQ
from deqlab.nn import DenseCell, MonotoneCell, MultiscaleCell, SpectralNorm, Triangular
from deqlab.solvers.proximal import Sigmoid
from deqlab.stability import best_certificate, certify, slope_of
from tests.problems import F64


def dense(constraint=None, **options):
    torch.manual_seed(0)
    return DenseCell(3, 5, constraint=constraint, **options)


def test_each_layer_of_a_model_answers_by_its_name():
    model = nn.Sequential(
        DEQ(dense(SpectralNorm(0.5), gain=3.0), name="first"),
        nn.Linear(5, 2),
        nn.ModuleDict({"inner": DEQ(MultiscaleCell(2, (4,)))}),
        MonotoneCell(2, 4, margin=0.25),
    )
    found = certify(model)
    assert list(found) == ["0", "2.inner", "3"]
    assert found["0"].rate == pytest.approx(0.5, rel=1e-6)
    assert found["2.inner"].exists
    assert not found["2.inner"].unique
    assert found["3"].margin == pytest.approx(0.285, abs=1e-3)  # above the m of 0.25
    assert certify(model[0]) == {"first": found["0"]}
    assert certify(model[3]) == {"MonotoneCell": found["3"]}
    # A model that holds a DEQ and its cell names the layer once for each.
    assert set(certify(DiagonalDEQ(torch.zeros(2)))) == {"cell", "deq"}


def test_wrappers_are_looked_through():
    deq = DEQ(nn.DataParallel(dense(SpectralNorm(0.5), gain=3.0)))
    assert certify(deq)["DEQ(DenseCell)"].holds


@pytest.mark.slow  # torch.compile takes seconds to import
def test_a_compiled_model_is_looked_through():
    deq = DEQ(dense(SpectralNorm(0.5), gain=3.0))
    compiled = torch.compile(nn.Sequential(deq), backend="eager")
    assert [certificate.holds for certificate in certify(compiled).values()] == [True]


def test_what_changes_the_map_leaves_it_unknown():
    hooked = dense(SpectralNorm(0.5))
    hooked.register_forward_hook(lambda module, args, out: 3 * out)

    class Tripled(DenseCell):
        def update(self, z, shared, rows):
            return 3 * super().update(z, shared, rows)

    class Own(Tripled):
        def certificate(self):
            return best_certificate(self.weight, slope=3.0)

    for cell, reason in (
        (hooked, "hooks of DenseCell may change what it computes"),
        (
            Tripled(3, 5, gain=0.1),
            "Tripled overrides update, and inherits a certificate of another",
        ),
        (nn.Linear(5, 5), "Linear has no method certificate"),
    ):
        (certificate,) = certify(DEQ(cell)).values()
        assert not certificate.holds
        assert reason in certificate.theorem
    torch.manual_seed(0)
    assert certify(Own(3, 5, gain=0.1))["Own"].holds


def test_an_arbitrary_map_is_refused_in_a_sentence():
    with pytest.raises(
        TypeError, match="got function: of an arbitrary map nothing is proved; spec"
    ):
        certify(lambda z: z / 2)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match="certify found nothing to ask in Linear: no cell, and no DEQ"
    ):
        certify(nn.Linear(2, 2))


def test_a_weight_pushed_past_its_cap_is_seen():
    cell = dense(SpectralNorm(0.5), gain=3.0)
    assert cell.certificate().margin == pytest.approx(0.5, abs=1e-5)
    cell.constraint.bound = 1.5  # whoever sets it, and however: W is looked at, not the bound
    assert not cell.certificate().holds
    assert "1.5 is not below 1" in cell.certificate().theorem
    triangle = dense(Triangular(0.5))
    assert triangle.certificate().holds
    triangle.constraint.bound = 4.0
    with torch.no_grad():
        triangle.free.diagonal().fill_(1.0)
    assert not triangle.certificate().holds
    diagonal = DiagonalCell(torch.tensor([0.5, -3.0]))
    assert diagonal.certificate().margin == pytest.approx(0.5)
    assert diagonal.certificate().rate is None  # plain iteration diverges
    with torch.no_grad():
        diagonal.w[0] = 1.25
    assert diagonal.certificate().margin == pytest.approx(-0.25)


def test_monotone_weights_are_looked_at_not_their_margin():
    torch.manual_seed(0)
    cell = MonotoneCell(2, 4, margin=0.5, gain=2.0).double()
    with torch.no_grad():
        cell.symmetric[:, 0] = 0  # then A'A adds nothing in one direction, and the margin is m
    assert cell.certificate().margin == pytest.approx(0.5, abs=1e-12)
    cell.margin = -0.5
    assert not cell.certificate().holds


def test_the_slope_of_the_activation_counts():
    relu, sigmoid, sine, unknown = (
        dense(activation=phi, gain=1.0)
        for phi in (torch.relu, torch.sigmoid, torch.sin, lambda u: torch.relu(u))
    )
    assert sigmoid.certificate().lipschitz < 0.26 / (1 - 0.25 * 1.7)
    assert relu.certificate() != sigmoid.certificate()
    assert "the activation is not nondecreasing" in sine.certificate().theorem
    assert "the Lipschitz constant of <function" in unknown.certificate().theorem
    triangle = dense(Triangular(), activation=torch.sin)
    assert "not nondecreasing" in triangle.certificate().theorem


def test_a_constraint_of_ones_own_is_judged_by_its_weight():
    class Halved(nn.Module):
        def forward(self, free):
            return free / (2 * torch.linalg.matrix_norm(free, ord=2))

    assert dense(Halved()).certificate().rate <= 0.5 + 1e-6


KNOWN = [
    torch.relu,
    torch.tanh,
    torch.sigmoid,
    torch.sin,
    torch.cos,
    torch.abs,
    torch.atan,
    torch.erf,
    torch.selu,
    nn.Identity(),
    nn.ReLU(),
    nn.ReLU6(),
    nn.Softsign(),
    nn.SiLU(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    nn.Mish(),
    nn.LogSigmoid(),
    nn.Hardsigmoid(),
    nn.Hardtanh(-2.0, 0.5),
    nn.LeakyReLU(-0.3),
    nn.LeakyReLU(2.0),
    nn.ELU(),
    nn.ELU(1.7),
    nn.functional.leaky_relu,
    nn.functional.softsign,
    Sigmoid(),
    ReLU(),
    LeakyReLU(0.2),
    LReLU(-0.5, 1.5),
    Tanh(),
    Erf(),
    ELU(0.5),
    HardTanh(),
]


def name_of(activation):
    return getattr(activation, "__name__", str(activation))


@pytest.mark.parametrize("activation", KNOWN, ids=name_of)
def test_slopes_are_those_that_a_fine_grid_finds_and_no_smaller(activation):
    slope = slope_of(activation)
    u = torch.linspace(-8, 8, 400_001, dtype=F64)
    slopes = activation(u).diff() / u.diff()
    largest = float(slopes.abs().max())
    # Constants that are not round are rounded up in the third digit.
    assert largest <= slope.lipschitz * (1 + 1e-9)
    assert largest >= slope.lipschitz * (1 - 2e-3)
    assert slope.nondecreasing == bool((slopes >= -1e-12).all())


@pytest.mark.parametrize("activation", [lambda u: u, Swish(), nn.PReLU(), nn.Softplus(), "relu"])
def test_what_is_not_known_has_no_slope(activation):
    assert slope_of(activation) is None


def test_what_is_no_certificate_is_told():
    class Wrong(nn.Module):
        def forward(self, z, x):
            return x

        def certificate(self):
            return True

    with pytest.raises(TypeError, match=r"Wrong.certificate\(\) must return a stability"):
        certify(DEQ(Wrong()))
