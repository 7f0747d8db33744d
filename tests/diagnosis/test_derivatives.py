"""J by autograd against quotients; fixed points entry by entry; what Picard is recommended for."""

import re

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Implicit, diagnose
from deqlab.diagnosis import DiagnosisError
from deqlab.diagnosis.probes.derivatives import derivatives
from deqlab.diagnosis.probes.rounding import small_everywhere
from deqlab.diagnosis.subject import Problem, Subject
from tests.problems import F64, normal

X = normal(4, 3, seed=0)


def problem_of(f, x=X) -> Problem:
    subject = Subject(
        name="f",
        asked=f,
        inputs=(x,),
        keywords={},
        z0=None,
        solver=Anderson(),
        gradient=Implicit(),
        batched=True,
    )
    return subject.problem()


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return torch.tanh(z)

    @staticmethod
    def backward(ctx, v):
        return v / 2


def without_tape(z, x):
    with torch.no_grad():
        fed_back = 0.8 * z
    return torch.tanh(fed_back + x)


HIDDEN = {
    "detach": lambda z, x: torch.tanh(0.8 * z.detach() + x),
    "a tenth": lambda z, x: torch.tanh(0.72 * z + 0.08 * z.detach() + x),
    "one entry": lambda z, x: torch.cat([z[:, :2], z[:, 2:].detach()], dim=1).roll(1, 1) / 2 + x,
    "no_grad": without_tape,
    "data": lambda z, x: torch.tanh(0.8 * z.data + x),
    "numpy": lambda z, x: torch.from_numpy(0.8 * z.detach().numpy()) + x,
    "backward": lambda z, x: 0.8 * WrongBackward.apply(z) + x,
}

SEEN = {
    "tanh": lambda z, x: torch.tanh(0.8 * z + x),
    "a kink": lambda z, x: torch.relu(z - z.detach() * 0 - 0.3) + x,
    "steep": lambda z, x: torch.tanh(1e4 * z) + x,
    "constant in steps": lambda z, x: torch.round(z) + x,
    "explicit": lambda z, x: 2 * x,
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", [*HIDDEN, *SEEN])
def test_a_derivative_that_autograd_does_not_see_is_told_from_one_that_it_does(kind, dtype):
    f, x = {**HIDDEN, **SEEN}[kind], X.to(dtype)
    wrong = derivatives(problem_of(f, x), x / 2, seed=0).wrong
    assert bool((wrong if kind in HIDDEN else ~wrong).all())


def test_a_kink_in_the_point_itself_is_no_wrong_derivative():
    seen = derivatives(problem_of(lambda z, x: torch.relu(z) / 2 + 0 * x), torch.zeros_like(X), 0)
    assert bool(seen.error.isnan().all())


def test_f_that_is_flat_around_a_point_depends_on_z_all_the_same():
    assert not derivatives(problem_of(lambda z, x: torch.relu(z - 3) + x), 0 * X, 0).ignores_z
    assert derivatives(problem_of(lambda z, x: 0 * z + x), 0 * X, 0).ignores_z


def test_no_error_of_a_gradient_is_told_where_the_derivative_is_wrong():
    diagnosis = diagnose(HIDDEN["detach"], X, starts=0)
    assert diagnosis.measurements.gradients is None
    assert not {"gradient", "attracting"} & set(diagnosis.names())


def one_entry_runs_off(z, x):
    # f(z) - z is above 0.1 everywhere; far below 0 it is lost in the rounding of z.
    return z + nn.functional.softplus(z) + 0.1 + x**2


def test_an_entry_that_runs_off_hides_none_of_the_others():
    x = X.float()
    z = torch.tensor([0.0, -2.2e7, -0.5]).expand(4, 3).contiguous()
    unit = torch.full((4,), 2.0)
    assert not small_everywhere(problem_of(one_entry_runs_off, x), z, unit).any()
    # Nor one that is large and resolved, as in float64.
    z64 = torch.tensor([0.0, -1e6, -0.5], dtype=F64).expand(4, 3).contiguous()
    assert not small_everywhere(problem_of(one_entry_runs_off), z64, unit.double()).any()
    # Not even where that entry is all there is.
    assert not small_everywhere(problem_of(one_entry_runs_off, x), 0 * z - 2.2e7, unit).any()


def test_a_fixed_point_far_from_the_start_is_one():
    x, a = X.float(), torch.tensor([0.999, 0.5, 0.0])
    z = x / (1 - a)
    unit = x.norm(dim=1)
    assert small_everywhere(problem_of(lambda z, x: a * z + x, x), z, unit).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_fixed_point_is_invented_where_one_entry_runs_off(seed):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    first = diagnose(one_entry_runs_off, x).findings[0]
    assert first.name == "no-fixed-point"
    assert "any of the 4 samples" in first.sentence


def test_only_solvers_that_find_every_sample_are_recommended():
    diagnosis = diagnose(lambda z, x: -1.5 * z + x, X, starts=0)
    assert not diagnosis.measurements.solvers["Picard"].all_converged
    advice = " ".join(finding.advice for finding in diagnosis.findings)
    assert "Anderson() " in advice.replace(",", " ")
    assert "Picard()" not in advice


class Starts(nn.Module):
    def initial(self, x):
        return torch.zeros(len(x), 2, dtype=F64)

    def forward(self, z, x):
        return z + x


@pytest.mark.parametrize(
    ("f", "x", "says"),
    [
        (nn.Sequential(nn.Linear(3, 3, dtype=F64)), X, "contains no DEQ layer"),
        (DEQ(Starts()), X, "look at the shapes of the inputs$"),
        (lambda z, x: z @ torch.ones(2, 3, dtype=F64), X, "z0= in Python, --z0-shape on"),
    ],
)
def test_the_hint_names_the_cause(f, x, says):
    with pytest.raises(DiagnosisError) as caught:
        diagnose(f, x)
    assert re.search(says, str(caught.value)), str(caught.value)
