"""Products J v where an operation has no second derivative, against first derivatives alone."""

import threading

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention as attend

from deqlab import Newton, NewtonKrylov, Picard, fixed_point
from deqlab.linalg.attention import plain_attention, uses_fused_attention
from deqlab.linalg.tangents import jvp
from deqlab.solvers import Auto
from tests.problems import F64, Sine, normal

pytestmark = pytest.mark.filterwarnings(
    # Torch's own: the formulas of its forward mode are scripted.
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

TOKENS, WIDTH = 4, 8
Z, V = normal(3, TOKENS * WIDTH, seed=1), normal(3, TOKENS * WIDTH, seed=2)
MASK = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]).bool()


def on_heads(**options):
    """Attention of two heads, of a state that is one matrix."""

    def f(z):
        heads = z.reshape(len(z), TOKENS, 2, WIDTH // 2).transpose(1, 2)
        return attend(heads, 0.5 * heads, heads, **options).transpose(1, 2).reshape(z.shape)

    return f


def on_tokens(layer):
    return lambda z: layer(z.reshape(len(z), TOKENS, WIDTH)).reshape(z.shape)


def multihead(**options):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(WIDTH, 2, batch_first=True, dtype=F64).eval()
    return on_tokens(lambda z: layer(z, z, z, **options)[0])


def encoder(mode):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0, batch_first=True, dtype=F64)
    return on_tokens(layer.train(mode).requires_grad_(mode))


def times(f, z, v):
    """J v, each row of J by a first derivative of its own."""
    return torch.stack(
        [
            torch.autograd.functional.jacobian(lambda r: f(r[None])[0], row) @ direction
            for row, direction in zip(z, v, strict=True)
        ]
    )


ATTENTION = {
    "plain": on_heads(),
    "causal": on_heads(is_causal=True),
    "mask": on_heads(attn_mask=MASK),  # its last token attends to none
    "weights": on_heads(attn_mask=normal(TOKENS, TOKENS, seed=3)),
    "scale": on_heads(scale=0.1),
    "multihead": multihead(need_weights=False),
    "multihead with weights": multihead(),
    "encoder, train": encoder(True),
    "encoder, eval": encoder(False),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name):
    f = ATTENTION[name]
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            out, product = jvp(f, Z + 0)
            found = product(V + 0), product(2 * V)
        torch.testing.assert_close(out.clone(), f(Z).detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found[0].clone(), times(f, Z, V), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found[1].clone(), 2 * found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_attention_in_less_precision(dtype, error):
    expected = times(on_heads(is_causal=True), Z, V)
    _, product = jvp(on_heads(is_causal=True), Z.to(dtype))
    found = product(V.to(dtype))
    assert found.dtype == dtype
    assert (found - expected).norm() < error * expected.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, product = jvp(lambda z: on_heads(is_causal=True)(z.bfloat16()).float(), Z.float())
        assert (product(V.float()) - expected).norm() < 3e-2 * expected.norm()


def test_attention_takes_one_evaluation_more():
    calls = []
    _, product = jvp(lambda z: (calls.append(1), ATTENTION["causal"](z))[1], Z)
    for _ in range(5):
        product(V)
    assert len(calls) == 2


def kernels():
    names = ("flash", "math", "mem_efficient", "cudnn")
    return [getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in names]


def test_the_choice_of_a_kernel_ends_with_the_last_of_threads_that_overlap():
    before, entered, leave = kernels(), threading.Event(), threading.Event()

    def stay():
        with plain_attention():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    with plain_attention():
        thread.start()
        entered.wait()
        with plain_attention():
            pass
    meanwhile = kernels()
    leave.set()
    thread.join()
    assert meanwhile == [False, True, False, False]  # of the other thread still
    assert kernels() == before
    with pytest.raises(ZeroDivisionError), plain_attention():
        1 / 0  # noqa: B018
    assert kernels() == before


def test_a_fused_kernel_is_seen_on_a_tape():
    z = Z.clone().requires_grad_()
    assert uses_fused_attention(2 * ATTENTION["encoder, train"](z))
    assert not uses_fused_attention(z.sin())
    assert not uses_fused_attention(Z)
    with plain_attention():
        assert not uses_fused_attention(ATTENTION["encoder, train"](z))


def near(z):
    """Distances, which torch differentiates once and backward only."""
    points = z.reshape(len(z), -1, 2)
    return torch.cdist(points, 2 * points.flip(1) + 1)[:, :, :2].reshape(z.shape)


DIFFERENCES = {
    "cdist": near,
    "once": lambda z: Sine.apply(z),
    # What torch records of the sum leaves the sine out, and says nothing.
    "once, and more": lambda z: Sine.apply(z) + z.roll(1, dims=1).tanh(),
}


@pytest.mark.parametrize("name", DIFFERENCES)
@pytest.mark.parametrize("dtype", [F64, torch.float32, torch.bfloat16])
def test_differences_have_the_error_that_is_said(name, dtype):
    if (name, dtype) == ("cdist", torch.bfloat16):
        pytest.skip("torch has no such kernel")
    f, expected = DIFFERENCES[name], times(DIFFERENCES[name], Z, V)
    with torch.no_grad():
        _, product = jvp(f, Z.to(dtype))
        found = product(V.to(dtype))
    assert found.dtype == dtype
    assert (found - expected).norm() < 5 * torch.finfo(dtype).eps ** (2 / 3) * expected.norm()


def test_differences_know_of_autocast():
    f, expected = DIFFERENCES["once, and more"], times(DIFFERENCES["once, and more"], Z, V)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, product = jvp(lambda z: f(z.bfloat16()).double(), Z)
        assert (product(V) - expected).norm() < 0.1 * expected.norm()


def test_differences_know_the_scale_of_each_row():
    scale = torch.tensor([1e-25, 1.0, 1e25], dtype=F64)[:, None]
    f = lambda z: scale * Sine.apply(z / scale)  # noqa: E731
    for length in (1e-20, 1e20):
        _, product = jvp(f, scale * Z)
        torch.testing.assert_close(product(length * V), length * V * Z.cos(), rtol=1e-6, atol=0)


def test_differences_of_no_direction_at_zero_and_beside_nan():
    _, product = jvp(Sine.apply, torch.zeros(3, 4, dtype=F64))
    v = torch.tensor([0.0, torch.nan, 1.0], dtype=F64)[:, None].expand(3, 4)
    found = product(v)
    assert (found[0] == 0).all()
    assert found[1].isnan().all()
    torch.testing.assert_close(found[2], v[2], rtol=1e-9, atol=0)


def test_two_forward_modes_beside_each_other():
    # One function has forward mode and no second derivative, the fast path of torch.nn neither.
    class Cube(Sine):
        @staticmethod
        def forward(ctx, z):
            ctx.z = z.detach()
            return z**3

        @staticmethod
        @once_differentiable
        def backward(ctx, cotangent):
            return 3 * ctx.z**2 * cotangent

        @staticmethod
        def jvp(ctx, tangent):
            return 3 * ctx.z**2 * tangent

    layer = multihead()
    f = lambda z: Cube.apply(z) + layer(z)  # noqa: E731
    with torch.no_grad():
        _, product = jvp(f, Z)
        found = product(V)
    torch.testing.assert_close(
        found, times(lambda z: z**3 + layer(z), Z, V), rtol=1e-13, atol=1e-13
    )


def test_an_error_of_f_itself_is_not_swallowed():
    calls = []

    def f(z):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("the license has run out")
        return Sine.apply(z)

    _, product = jvp(f, Z)
    with pytest.raises(RuntimeError, match="the license has run out"):
        product(V)


@pytest.mark.parametrize("name", ["plain", "mask", "encoder, eval"])
@pytest.mark.parametrize(
    "solver",
    [
        NewtonKrylov(rtol=1e-9),
        Newton(rtol=1e-9),
        Auto(rtol=1e-9, promise=1, stall=1, memory=1),
    ],
    ids=["NewtonKrylov", "Newton", "Auto"],
)
def test_newton_methods_on_attention(solver, name):
    f = lambda z, x: 0.2 * ATTENTION[name](z) + x  # noqa: E731
    x = Z.clone().requires_grad_()
    found = fixed_point(f, torch.zeros_like(Z), x, solver=solver)
    expected = fixed_point(f, torch.zeros_like(Z), x, solver=Picard(rtol=1e-12, max_steps=500))
    assert found.converged.all()
    torch.testing.assert_close(found.value, expected.value, rtol=1e-7, atol=1e-7)
    gradients = (torch.autograd.grad(s.value.square().sum(), x)[0] for s in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_newton_krylov_by_differences(name):
    # Close to radius 1, where Picard iteration takes hundreds of steps.
    f = lambda z, x: 0.1 * DIFFERENCES[name](z) + 0.85 * z + 0.1 * x  # noqa: E731
    for dtype, rtol in ((F64, 1e-10), (torch.float32, 1e-5)):
        z0, x = torch.zeros_like(Z, dtype=dtype), Z.to(dtype)
        found = fixed_point(f, z0, x, solver=NewtonKrylov(rtol=rtol))
        assert found.converged.all()
        assert found.steps.max() < 25


def test_bfloat16_attention_is_solved_to_what_bfloat16_resolves():
    f = lambda z, x: 0.3 * ATTENTION["causal"](z) + x  # noqa: E731
    x = Z.bfloat16()
    found = fixed_point(f, torch.zeros_like(x), x, solver=NewtonKrylov(rtol=2e-2))
    assert found.converged.all()
