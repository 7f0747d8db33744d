"""What a compiled solve cannot do is said in a sentence that reaches the user."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from deqlab import DEQ, Anderson, Broyden, Implicit, Newton, Picard, fixed_point
from deqlab.gradients import Dense
from deqlab.maps.random_numbers import Draws
from deqlab.nn import DenseCell
from tests.compiled.both import compiled

pytestmark = pytest.mark.usefixtures("traceable")

X = torch.linspace(-1, 1, 12).reshape(3, 4)


def halved(z, x):
    return 0.5 * z.cos() + x


def solve(f=halved, **options):
    options = {"solver": Picard(), "on_failure": "ignore", **options}
    return compiled(lambda x: fixed_point(f, torch.zeros_like(x), x, **options).value)(X)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"solver": Broyden()}, "takes Picard and Anderson, not Broyden: choose one of these, or"),
        (
            {"solver": Newton()},
            "not Newton: .* compile without fullgraph=True, and the solve runs outside",
        ),
        ({"solver": Picard(record=(1,))}, "records no iterates: leave out record, or compile"),
        (
            {"solver": Anderson(window_dtype=torch.bfloat16)},
            "keeps its window as it is: leave out window_dtype, or compile",
        ),
        ({"rows_independent": True}, "keeps all rows in the batch: leave out rows_independent"),
        ({"on_failure": "perhaps"}, 'on_failure is "raise", "warn" or "ignore"'),
    ],
)
def test_an_option_that_is_not_compiled(options, sentence):
    with pytest.raises(RuntimeError, match=sentence):
        solve(**options)


dropout, attention = nn.Dropout(0.1), nn.MultiheadAttention(4, 2, dropout=0.1)


@pytest.mark.parametrize(
    "draw",
    [
        dropout,
        lambda z: z + torch.randn_like(z),
        lambda z: z + torch.empty(()).uniform_(),
        lambda z: attention(z, z, z)[0],
        lambda z: checkpoint(dropout, z, use_reentrant=False),
        lambda z: torch.vmap(dropout, randomness="different")(z),
    ],
    ids=["dropout", "randn_like", "in place", "attention", "checkpoint", "vmap"],
)
def test_an_f_that_draws_random_numbers(draw):
    # Not to be found out by the verdicts: two draws may agree.
    with pytest.raises(RuntimeError, match=r"f draws random numbers .* use eval mode, or compile"):
        solve(lambda z, x: draw(halved(z, x)))


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_an_export_with_a_gradient_that_has_no_graph_begins_with_the_sentence(strict):
    # Not with torch's "Observed exception", which has it somewhere below.
    sentence = r"^torch.export holds no backward pass of Implicit: solve under torch.no_grad"
    with pytest.raises((RuntimeError, NotImplementedError), match=sentence):
        torch.export.export(DEQ(DenseCell(4, 4)), (X,), strict=strict)
    with torch.no_grad():  # as the sentence says
        torch.export.export(DEQ(DenseCell(4, 4)), (X,), strict=strict)


@pytest.mark.parametrize("cell", [nn.Bilinear(4, 4, 4), DenseCell(4, 4)])
def test_torch_fx_of_a_bare_layer(cell):
    # All of its inputs are then one Proxy.
    with pytest.raises(NotImplementedError, match=r"symbolic_trace.*a Proxy has none.*leaf"):
        torch.fx.symbolic_trace(DEQ(cell))


class Noisy(nn.Module):
    """A plain cell with a dropout."""

    def forward(self, z, x):
        return nn.functional.dropout(0.5 * z.cos() + x, 0.5)


@pytest.mark.slow
def test_an_f_that_could_draw_but_does_not():
    quiet = nn.Sequential(nn.Dropout(0.5), nn.Tanh()).eval()
    noise = torch.randn(3, 4)
    value = solve(lambda z, x: 0.5 * quiet(z) + torch.vmap(torch.cos)(x) + noise)
    assert torch.equal(value, solve(lambda z, x: 0.5 * z.tanh() + x.cos() + noise))


def attending(z, x):
    heads = halved(z, x)[:, None, None]
    return scaled_dot_product_attention(heads, heads, heads)[:, 0, 0]


@pytest.mark.slow
def test_fused_attention_that_drops_nothing_draws_nothing():
    # torch marks its operator as one that draws.
    expected = fixed_point(attending, torch.zeros_like(X), X).value
    torch.testing.assert_close(solve(attending), expected)


@pytest.mark.parametrize("drop", [0.0, 0.1])
@pytest.mark.parametrize("by_name", [True, False])
def test_fused_attention_draws_where_it_drops_weights(drop, by_name):
    kernel = torch.ops.aten._scaled_dot_product_flash_attention  # of CUDA, without numbers
    q = torch.empty(2, 2, 3, 8, device="meta")
    with Draws() as draws:
        kernel(q, q, q, dropout_p=drop) if by_name else kernel(q, q, q, drop)
    assert draws.found == (drop > 0)


def test_an_f_that_changes_the_state():
    with pytest.raises(RuntimeError, match="f must keep the shape of z"):
        solve(lambda z, x: z[:, :2])


@pytest.mark.slow
def test_a_layer_says_what_to_change():
    layer = DEQ(DenseCell(4, 4), gradient=Implicit(solver=Dense()))
    with pytest.raises(RuntimeError, match=r"by GMRES, not by Dense: take Implicit\(\)"):
        compiled(layer)(X)
    with torch.no_grad():
        torch.testing.assert_close(compiled(layer)(X), layer(X))


@pytest.mark.parametrize("strict", [True, False])
def test_an_export(strict):
    # Its graph is one as well; with strict=False nothing is traced, and the error is the plain one.
    for cell, sentence in (
        (DenseCell(4, 4), "holds no backward pass of Implicit: solve under torch.no_grad"),
        (Noisy(), r"f draws random numbers .* use eval mode"),
    ):
        with pytest.raises(RuntimeError, match=sentence) as caught:
            torch.export.export(DEQ(cell), (X,), strict=strict)
        assert strict or type(caught.value) is NotImplementedError


def test_a_call_that_is_left_out_of_the_graph_is_the_solve_outside():
    @torch.compiler.disable
    def outside(x):
        return fixed_point(halved, torch.zeros_like(x), x, solver=Broyden()).value

    found = torch.compile(lambda x: outside(x + 1) - 1, backend="eager")(X)
    assert torch.equal(found, outside(X + 1) - 1)
