"""What a program of a user sees: in a process of its own, where no type checker speaks first."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, warnings
import torch
from torch import nn
from deqlab import *
from deqlab.gradients import GMRES
from deqlab.nn import *

torch.manual_seed(0)
shown, refused = [], {}
warnings.showwarning = lambda message, category, file, line, *_: shown.append((line, str(message)))
first = nn.Sequential(nn.Linear(3, 4), DEQ(DenseCell(4, 5), solver=Picard(max_steps=1)))
second = DEQ(DenseCell(3, 5), solver=Picard(max_steps=1), name="encoder")
for step in range(1, 6):
    x = torch.randn(step, 3)
    first(x)  # HERE
    value = second(x)
starved = DEQ(DenseCell(3, 5), gradient=Implicit(solver=GMRES(max_products=1)), name="starved")
for step in range(1, 6):
    value = starved(torch.randn(step, 3)).sum()
    value.backward()  # BACKWARD

attempts = {
    "string": lambda: DEQ(DenseCell(1, 2), solver="anderson"),
    "class": lambda: DEQ(DenseCell(1, 2), solver=Anderson),
    "gradient string": lambda: DEQ(DenseCell(1, 2), gradient="ift"),
    "gradient class": lambda: DEQ(DenseCell(1, 2), gradient=Implicit),
    "cell class": lambda: DEQ(DenseCell),
    "map": lambda: fixed_point(lambda z: z, torch.zeros(1, 1), solver="anderson"),
    "map gradient": lambda: fixed_point(lambda z: z, torch.zeros(1, 1), gradient=Implicit),
    "width": lambda: DenseCell(3, 4.0),
    "bool": lambda: MonotoneCell(True, 4),
    "bound": lambda: SpectralNorm("0.9"),
    "sizes": lambda: mlp("88"),
    "channels": lambda: MultiscaleCell(3, 8),
}
for name, attempt in attempts.items():
    try:
        attempt()
    except (TypeError, ValueError) as error:
        refused[name] = f"{type(error).__name__}: {error}"
print(json.dumps({"shown": shown, "refused": refused}))
"""

LINES = PROGRAM.splitlines()


def line_of(mark):
    return next(number for number, line in enumerate(LINES, 1) if line.endswith(f"# {mark}"))


@pytest.fixture(scope="module")
def seen():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_layer_that_fails_at_every_step_warns_once_at_the_line_of_the_program(seen):
    lines = [line for line, _ in seen["shown"]]
    # The forward passes of both layers, and the backward pass of the third.
    assert lines == [line_of("HERE"), line_of("HERE") + 1, line_of("BACKWARD")]


def test_a_warning_names_its_layer(seen):
    starts = ["DEQ(DenseCell): samples", "encoder: samples", "adjoint of starved: samples"]
    for (_, text), start in zip(seen["shown"], starts, strict=True):
        assert text.startswith(start)


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        ("string", "solver must be a Solver, such as Anderson(rtol=1e-4), got the string 'and"),
        ("class", "got the class Anderson; an instance is made by Anderson()"),
        ("gradient string", "gradient must be a Gradient, such as Implicit(), got the string"),
        ("gradient class", "got the class Implicit"),
        ("cell class", "cell must be a Module, such as DenseCell(8, 16), got the class DenseCell"),
        ("map", "solver must be a Solver"),
        ("map gradient", "gradient must be a Gradient"),
        ("width", "TypeError: width must be a whole number, got 4.0"),
        ("bool", "TypeError: num_inputs must be a whole number, got True"),
        ("bound", "TypeError: bound must be a number, got '0.9'"),
        ("sizes", "TypeError: sizes must be a sequence of whole numbers, got '88'"),
        ("channels", "TypeError: channels must be a sequence of whole numbers, got 8"),
    ],
)
def test_an_argument_of_another_kind_is_refused_at_once(seen, attempt, sentence):
    assert sentence in seen["refused"][attempt]
    assert "\n" not in seen["refused"][attempt]
