"""States of several tensors: other ranks, resolutions, dtypes and scales in one solve.

Gold: the same map on the flat vector of all blocks, iterated in float64; its Jacobian by torch's
own `jacobian`, and v = (I - J')^-1 u by a dense solve.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from deqlab import Implicit, Phantom, Picard, Status, Unrolled, fixed_point
from tests.contracts.dense import at
from tests.contracts.gradients import every_gradient, exact_gradients
from tests.contracts.solvers import every_solver
from tests.problems import F64, affine_solution, matrix, normal

BATCH = 2
RTOL = 1e-6


@dataclass(frozen=True)
class Tree:
    """A map f(state, x) on a dict of tensors, with an input x of shape (B, 5)."""

    f: Callable
    shapes: dict[str, tuple[int, ...]]  # of one sample
    scales: dict[str, float]
    dtypes: dict[str, torch.dtype]

    def z0(self, dtype=None):
        return {
            k: torch.zeros(BATCH, *shape, dtype=dtype or self.dtypes[k])
            for k, shape in self.shapes.items()
        }

    @property
    def sizes(self):
        return [torch.Size(shape).numel() for shape in self.shapes.values()]

    def flat(self, state):
        return torch.cat([t.double().reshape(len(t), -1) for t in state.values()], dim=1)

    def unflat(self, row):
        parts = zip(self.shapes.items(), row.split(self.sizes), strict=True)
        return {k: part.reshape(1, *shape) for (k, shape), part in parts}

    def gold(self, x, u):
        """z* and dL/dx for u = dL/dz*, flat, one row after the other, all in float64."""
        values, gradients = [], []
        for x_row, u_row in zip(x.detach().double(), self.flat(u), strict=True):
            f = lambda z, x: self.flat(self.f(self.unflat(z), x[None]))[0]  # noqa: E731
            z = self.flat(self.z0(F64))[0]
            for _ in range(120):  # contracts by less than 0.75: 0.75^120 < 1e-14
                z = f(z, x_row)
            j_z, j_x = torch.autograd.functional.jacobian(f, (z, x_row))
            v = torch.linalg.solve((torch.eye(len(z), dtype=F64) - j_z).T, u_row)
            values.append(z)
            gradients.append(j_x.T @ v)
        return torch.stack(values), torch.stack(gradients)


def pyramid(state, x):
    """An image at two resolutions, a vector, and one number per sample (rank 1)."""
    kernel = 0.05 * normal(2, 2, 3, 3, seed=0)
    fine, coarse, vector, number = state.values()
    pixels = x.mean(dim=1)[:, None, None, None]
    up = interpolate(coarse, scale_factor=2, mode="nearest")
    return {
        "fine": torch.tanh(conv2d(fine, kernel, padding=1) + 0.2 * up + pixels),
        "coarse": torch.sin(0.3 * coarse + 0.2 * avg_pool2d(fine, 2) + 0.1 * pixels),
        "vector": torch.tanh(0.3 * vector @ matrix(5, norm=1.0, seed=1).T + x),
        "number": 0.3 * number.cos() + 0.1 * vector.mean(dim=1),
    }


def units(state, x):
    """Blocks in units of 1e3 and 1e-3 that feed each other, each in its own dtype."""
    w = matrix(5, norm=0.4, seed=2)
    a, b = state["metres"].double() / 1e3, state["seconds"].double() / 1e-3
    metres = 1e3 * torch.tanh(a @ w.T + 0.3 * b + x)
    seconds = 1e-3 * torch.sin(b @ w + 0.2 * a - x)
    return {"metres": metres, "seconds": seconds.to(state["seconds"].dtype)}


IMAGES = {"fine": (2, 4, 4), "coarse": (2, 2, 2), "vector": (5,), "number": ()}
PAIR, IN_UNITS = {"metres": (5,), "seconds": (5,)}, {"metres": 1e3, "seconds": 1e-3}
TREES = {
    "pyramid": Tree(pyramid, IMAGES, dict.fromkeys(IMAGES, 1.0), dict.fromkeys(IMAGES, F64)),
    "units": Tree(units, PAIR, IN_UNITS, dict.fromkeys(PAIR, F64)),
    "mixed dtypes": Tree(units, PAIR, IN_UNITS, {"metres": F64, "seconds": torch.float32}),
}
every_tree = pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
CONTAINERS = {"dict": lambda d: d, "tuple": lambda d: tuple(d.values())}
every_container = pytest.mark.parametrize("pack", CONTAINERS.values(), ids=CONTAINERS)


def solve(tree, x, pack=CONTAINERS["dict"], **options):
    keys = list(tree.shapes)

    def f(state, x):
        state = state if isinstance(state, dict) else dict(zip(keys, state, strict=True))
        return pack(tree.f(state, x))

    solution = fixed_point(f, pack(tree.z0()), x, **options)
    value = solution.value
    return solution, value if isinstance(value, dict) else dict(zip(keys, value, strict=True))


def some_x():
    return normal(BATCH, 5, seed=3)


@every_solver
@every_tree
@every_container
def test_each_block_meets_its_own_tolerance(solver, tree, pack):
    solver, x = replace(solver, rtol=RTOL, atol=0.0, max_steps=500), some_x()
    solution, value = solve(tree, x, pack, solver=solver)
    assert solution.status.tolist() == [Status.CONVERGED] * BATCH
    image, first = tree.f(value, x), tree.f(tree.z0(), x)
    for key, block in value.items():
        assert (block.shape, block.dtype) == ((BATCH, *tree.shapes[key]), tree.dtypes[key])
        rows = lambda t: t.double().reshape(BATCH, -1).norm(dim=1)  # noqa: E731
        residual = rows(image[key].double() - block.double())
        allowed = RTOL * torch.minimum(rows(image[key]), 10 * rows(first[key]))
        # The state is one matrix in the widest dtype: a float32 block of it is rounded on return.
        rounding = 2 * torch.finfo(block.dtype).eps * rows(block)
        assert (residual <= allowed * (1 + 1e-9) + rounding).all()


@every_solver
@every_tree
def test_each_block_is_as_near_its_gold_as_its_scale_demands(solver, tree):
    solver, x = replace(solver, rtol=RTOL, atol=0.0, max_steps=500), some_x()
    _, value = solve(tree, x, solver=solver)
    gold, _ = tree.gold(x, tree.z0())
    for (key, block), exact in zip(value.items(), gold.split(tree.sizes, dim=1), strict=True):
        # rtol of blocks that feed each other, amplified by 1 / (1 - 0.75), times two.
        error = (block.double().reshape(BATCH, -1) - exact).norm(dim=1)
        assert (error <= 8 * RTOL * tree.scales[key] * (1 + sum(tree.shapes[key]) ** 0.5)).all()


@exact_gradients
@every_tree
@every_container
def test_the_gradient_through_a_tree_is_the_dense_solution(case, tree, pack):
    single = torch.float32 in tree.dtypes.values()
    if single:  # f is rounded to float32 in one block: nothing below 1e-6 can be asked for
        case = at(case, RTOL)
    x = some_x().requires_grad_()
    _, value = solve(tree, x, pack, solver=case.solver, gradient=case.gradient)
    u = {k: normal(BATCH, *shape, seed=4) / tree.scales[k] for k, shape in tree.shapes.items()}
    sum((u[k].to(t.dtype) * t).sum() for k, t in value.items()).backward()
    _, exact = tree.gold(x, u)
    # Solves to 1e-13 (1e-6), amplified twice by 1 / (1 - 0.75); unrolled ones lag a step behind.
    tolerance = 1e-4 if single else 1e-8
    torch.testing.assert_close(x.grad, exact, rtol=tolerance, atol=tolerance)


@every_gradient
@every_tree
def test_the_gradient_of_one_block_alone_is_finite_and_keeps_the_dtype(case, tree):
    # The other blocks get no cotangent at all: None, not zeros.
    case = at(case, 1e-6)
    for key in tree.shapes:
        x = some_x().requires_grad_()
        _, value = solve(tree, x, solver=case.solver, gradient=case.gradient)
        value[key].sum().backward()
        assert x.grad.dtype == x.dtype
        assert x.grad.isfinite().all()
        # An inexact gradient may see one step back only; no step leads from x to the number.
        assert (x.grad != 0).any() or not case.exact


@exact_gradients
def test_a_block_with_a_small_cotangent_and_a_slow_adjoint_is_solved_like_the_others(case):
    # One norm over both would stop when the large and fast one is done, 1e12 above the other.
    # A derivative of the steps has no adjoint: it follows the value, and needs one that is exact.
    case = case if case.taped or case.follows_path else at(case, 1e-6)
    slow, fast = matrix(3, norm=0.9, seed=5, symmetric=True), 0.1
    a, b = (normal(BATCH, 3, seed=6).requires_grad_() for _ in range(2))
    f = lambda s, a, b: (s[0] @ slow.T + a, fast * s[1] + b)  # noqa: E731
    z0 = (torch.zeros(BATCH, 3, dtype=F64), torch.zeros(BATCH, 3, dtype=F64))
    value = fixed_point(f, z0, a, b, solver=case.solver, gradient=case.gradient).value
    u = normal(BATCH, 3, seed=7)
    torch.autograd.backward(value, (1e-6 * u, 1e6 * u))
    # 1e-6 amplified by 1 / (1 - 0.9), times ten.
    torch.testing.assert_close(b.grad, 1e6 * u / (1 - fast), rtol=1e-4, atol=0)
    error = (a.grad - 1e-6 * affine_solution(slow.T, u)).norm(dim=1)
    assert (error <= 1e-4 * a.grad.norm(dim=1)).all()


class Pyramid(NamedTuple):
    fine: torch.Tensor
    coarse: torch.Tensor
    vector: torch.Tensor
    number: torch.Tensor


def nested(d):
    return [d["fine"], {"low": (d["coarse"], d["vector"]), "number": d["number"]}]


def unnested(n):
    (coarse, vector), number = n[1]["low"], n[1]["number"]
    return {"fine": n[0], "coarse": coarse, "vector": vector, "number": number}


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (lambda d: list(d.values()), lambda s: dict(zip(IMAGES, s, strict=True))),
        (lambda d: Pyramid(**d), lambda s: s._asdict()),
        (nested, unnested),
    ],
    ids=["list", "named tuple", "nested"],
)
@pytest.mark.parametrize("gradient", [Implicit(), Unrolled(), Phantom(steps=80)])
def test_any_container_gives_the_values_and_gradients_of_a_dict(pack, unpack, gradient):
    tree, u = TREES["pyramid"], {k: normal(BATCH, *shape, seed=4) for k, shape in IMAGES.items()}

    def run(pack, unpack):
        x = some_x().requires_grad_()
        f = lambda s, x: pack(tree.f(unpack(s), x))  # noqa: E731
        options = {"solver": Picard(rtol=1e-10), "gradient": gradient}
        value = fixed_point(f, pack(tree.z0()), x, **options).value
        assert type(value) is type(pack(tree.z0()))
        value = unpack(value)
        sum((u[k] * t).sum() for k, t in value.items()).backward()
        return value, x.grad

    value, by_x = run(pack, unpack)
    expected, expected_by_x = run(lambda d: d, lambda d: d)
    for name in IMAGES:
        assert torch.equal(value[name], expected[name])
    assert torch.equal(by_x, expected_by_x)


def test_the_keys_of_a_dict_may_come_back_in_any_order():
    tree, x = TREES["units"], some_x()
    turned = lambda s, x: dict(reversed(tree.f({k: s[k] for k in PAIR}, x).items()))  # noqa: E731
    value = fixed_point(turned, tree.z0(), x).value
    expected = fixed_point(tree.f, tree.z0(), x).value
    assert list(value) == list(expected)
    assert all(torch.equal(value[k], expected[k]) for k in value)
