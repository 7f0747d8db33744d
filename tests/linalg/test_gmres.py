"""GMRES against dense linear algebra, and what it owes each row of a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.linalg import arnoldi, linear_system
from deqlab.linalg.gmres import gmres
from tests.problems import F64, matrix, normal, rotation, symmetric_with

EPS = {torch.float32: 2.0**-23, F64: 2.0**-52}


def block_rotation(dim, scale):
    angles = torch.linspace(0.1, 3.1, dim // 2)
    return torch.block_diag(*[rotation(float(angle), scale=scale) for angle in angles])


def nilpotent(dim, seed):
    return 2 * normal(dim, dim, seed=seed).triu(diagonal=1) / dim**0.5


def triangular(dim, seed):
    """Far from normal: eigenvalues below 1/2, and a norm of several."""
    a = 0.5 * normal(dim, dim, seed=seed).tril(-1)
    return a + torch.diag(torch.linspace(-0.5, 0.5, dim, dtype=F64))


# One matrix each, of size 8 and of size 40.
MATRICES = {
    "zero": lambda n: torch.zeros(n, n, dtype=F64),
    "random": lambda n: matrix(n, norm=0.9, seed=0),
    "random beyond 1": lambda n: matrix(n, norm=3.0, seed=1),
    "symmetric": lambda n: matrix(n, norm=0.99, seed=2, symmetric=True),
    "eigenvalues in [-3, 0]": lambda n: symmetric_with(np.linspace(-3, 0, n), seed=3),
    "rotation": lambda n: block_rotation(n, 0.99),
    "nilpotent": lambda n: nilpotent(n, 4),
    "triangular": lambda n: triangular(n, 5),
    "shift": lambda n: torch.eye(n, dtype=F64).roll(1, dims=0) * 0.9,
}
every_matrix = pytest.mark.parametrize("a", MATRICES.values(), ids=MATRICES)
every_dtype = pytest.mark.parametrize("dtype", EPS)


def dense(a, b):
    return torch.linalg.solve(torch.eye(len(a), dtype=F64) - a, b.double().T).T


def product_with(a, calls=None):
    """v -> v A', counted."""

    def product(v):
        if calls is not None:
            calls.append(v.clone())
        return v @ a.T.to(v)

    return product


def relative(b, share):
    return share * np.linalg.norm(b.double().numpy(), axis=1)


def solve(a, b, share=1e-12, **options):
    options = {"tolerance": relative(b, share), "max_products": 400} | options
    return gmres(product_with(a), b, **options)


def true_residual(a, b, x):
    x, b = x.double(), b.double()
    return (b - x + x @ a.T).norm(dim=1).numpy()


def rounding(a, b, x):
    """What neither the recurrence nor a product in the precision of b can tell.

    `ROUNDING` bounds the first by 2; the product that measures, and A itself, are rounded too.
    """
    norm = torch.linalg.matrix_norm(torch.eye(len(a), dtype=F64) - a, ord=2)
    size = b.double().norm(dim=1) + norm * x.double().norm(dim=1)
    return 4 * EPS[b.dtype] * size.numpy()


@every_matrix
@pytest.mark.parametrize(("dtype", "share"), [(F64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("restart", [40, 12])
def test_the_answer_is_that_of_a_dense_solve(a, dtype, share, restart):
    a, b = a(8), normal(5, 8, seed=10).to(dtype)
    result = solve(a, b, share, restart=restart)
    assert result.converged.all()
    assert result.x.dtype == dtype
    # The error is the residual times the norm of the inverse.
    inverse = torch.linalg.inv(torch.eye(8, dtype=F64) - a)
    slack = float(torch.linalg.matrix_norm(inverse, ord=2))
    limit = relative(b, share) + rounding(a, b, result.x)
    assert (true_residual(a, b, result.x) <= limit).all()
    error = (result.x - dense(a, b)).norm(dim=1).numpy()
    assert (error <= slack * limit).all()


@every_matrix
@every_dtype
def test_no_more_products_than_dimensions_are_needed(a, dtype):
    # 2 * 8: what is left after D is rounding, measured by one product and taken off by a few.
    a, b = a(8), normal(5, 8, seed=11).to(dtype)
    cond = float(torch.linalg.cond(torch.eye(8, dtype=F64) - a))
    result = solve(a, b, 100 * EPS[dtype] * cond)
    assert result.converged.all()
    assert result.products <= 9


@every_matrix
@every_dtype
@pytest.mark.parametrize("restart", [5, 40])
def test_the_residual_never_rises_and_is_the_true_one_to_rounding(a, dtype, restart):
    a, b = a(40), normal(4, 40, seed=12).to(dtype)
    for products in (1, 3, 6, 7, 25, 60):
        result = solve(a, b, 0.0, restart=restart, max_products=products)
        assert result.products == len(result.trace) <= products
        limit = rounding(a, b, result.x)
        assert (np.abs(true_residual(a, b, result.x) - result.residual) <= limit).all()
        assert (np.diff(result.trace, axis=0) <= limit).all()


def test_the_residuals_are_the_least_of_their_krylov_spaces():
    # min |b - (I - A) K y| over K = [b, A b, ...], by a dense least-squares solve.
    a, b = matrix(12, norm=1.2, seed=20), normal(1, 12, seed=21)
    trace = solve(a, b, 0.0, max_products=8).trace[:, 0]
    space = [b[0]]
    for k in range(8):
        basis, _ = torch.linalg.qr(torch.stack(space, dim=1))
        image = basis - a @ basis
        y = torch.linalg.lstsq(image, b.T).solution
        assert trace[k] == pytest.approx((b.T - image @ y).norm().item(), rel=1e-8)
        space.append(a @ space[-1])


def test_from_zero_no_products_do_better():
    # A Neumann series, or the same space entered at x0 = b, which takes a product to begin.
    a, b = matrix(20, norm=0.9, seed=22, symmetric=True), normal(6, 20, seed=23)
    ours = solve(a, b, 0.0, max_products=9).trace
    from_b = solve(a, b, 0.0, max_products=9, x0=b).trace
    assert (ours <= from_b * (1 + 1e-12)).all()
    term = b
    for k in range(9):
        term = term @ a.T
        assert (ours[k] <= term.norm(dim=1).numpy() * (1 + 1e-12)).all()


@pytest.mark.parametrize(("dtype", "share"), [(F64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("restart", [10, 30])
def test_restarts_reach_rounding_on_ill_conditioned_systems(dtype, share, restart):
    # I - A is symmetric with eigenvalues from 1e-4 to 1, so that |x| is up to 1e4 |b|: float32
    # can bring the residual to eps |x|, and no lower.
    values = np.concatenate([np.logspace(-4, -3, 4), np.linspace(0.5, 1.0, 36)])
    a = symmetric_with(1 - values, seed=24)
    b = normal(3, 40, seed=25) @ (torch.eye(40, dtype=F64) - a).T
    # b is (I - A) x for an x of the size of b.
    x = dense(a, b)
    result = solve(a, b.to(dtype), share, restart=restart, max_products=600)
    assert result.converged.all()
    limit = relative(b, share) + rounding(a, b.to(dtype), result.x)
    assert (true_residual(a, b.to(dtype), result.x) <= limit).all()
    assert ((result.x - x).norm(dim=1) / x.norm(dim=1)).max() <= 2e4 * share


def test_a_right_hand_side_of_zero_costs_nothing_and_gives_exactly_zero():
    a, b = matrix(6, norm=0.9, seed=26), normal(3, 6, seed=27)
    b[1] = 0.0
    result = solve(a, b)
    assert result.x[1].tolist() == [0.0] * 6
    assert result.residual[1] == 0.0
    assert result.converged.all()
    nothing = solve(a, torch.zeros(2, 6, dtype=F64), tolerance=np.zeros(2))
    assert nothing.products == 0
    assert nothing.trace.shape == (0, 2)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1, 1)])
def test_empty_and_smallest_systems_are_solved(shape):
    b = torch.ones(shape, dtype=F64)
    result = gmres(lambda v: 0.5 * v, b, tolerance=np.zeros(shape[0]), max_products=3)
    assert torch.equal(result.x, 2 * b)
    assert result.converged.all()


@st.composite
def systems(draw):
    """Random A of norm up to 2, and a batch of right-hand sides of very different size."""
    dim, batch = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**31))
    a = matrix(dim, norm=draw(st.floats(0.0, 2.0)), seed=seed, symmetric=draw(st.booleans()))
    return a, normal(batch, dim, seed=seed + 1)


@given(systems(), st.sampled_from([1e-3, 1e-8]))
def test_a_row_alone_gets_the_answer_it_gets_in_a_batch(system, share):
    a, b = system
    together = solve(a, b, share)
    for i in range(len(b)):
        alone = solve(a, b[i : i + 1], share)
        assert alone.converged[0] == together.converged[i]
        # Rows are multiplied in another order, and what differs is amplified by |(I - A)^-1|.
        torch.testing.assert_close(
            alone.x[0], together.x[i], rtol=1e-6, atol=float(relative(b, share)[i]) + 1e-9
        )


@given(systems(), st.sampled_from([-20, 20]), st.sampled_from(list(EPS)))
def test_the_scale_of_a_right_hand_side_scales_the_answer_and_changes_no_count(
    system, log2_scale, dtype
):
    # 2^40 between them, twelve decades, and no rounding.
    a, b = system[0], system[1].to(dtype)
    plain = solve(a, b, 1e-4)
    scaled = solve(a, b * 2.0**log2_scale, 1e-4)
    assert scaled.products == plain.products
    torch.testing.assert_close(scaled.x / 2.0**log2_scale, plain.x, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e20, 1e30])
def test_float32_neither_overflows_nor_vanishes(scale):
    # Squares of these do.
    a, b = matrix(6, norm=0.9, seed=28), normal(3, 6, seed=29)
    result = solve(a, (scale * b).float(), 1e-5)
    assert result.converged.all()
    torch.testing.assert_close(result.x.double() / scale, dense(a, b), rtol=1e-3, atol=1e-4)


def test_each_row_stops_at_its_own_tolerance_and_is_not_changed_after():
    a, b = matrix(30, norm=0.9, seed=30), normal(3, 30, seed=31)
    shares = np.array([1e-1, 1e-5, 1e-10])
    calls = []
    tolerance = shares * b.norm(dim=1).numpy()
    result = gmres(product_with(a, calls), b, tolerance=tolerance, max_products=100)
    assert result.converged.all()
    for i in range(3):
        alone = gmres(product_with(a), b[[i]], tolerance=tolerance[[i]], max_products=100)
        ends = alone.products
        torch.testing.assert_close(result.x[i], alone.x[0], rtol=0, atol=1e-13)
        # From then on the row is a zero vector, and its residual stands still.
        assert all(not call[i].any() for call in calls[ends:])
        assert (result.trace[ends - 1 :, i] == result.trace[ends - 1, i]).all()
        # Stopped as soon as it could: one product less does not do.
        assert result.trace[ends - 1, i] <= tolerance[i] < result.trace[ends - 2, i]
    assert result.products == len(calls) == alone.products


def test_only_running_rows_are_solved():
    a, b = matrix(10, norm=0.9, seed=32), normal(4, 10, seed=33)
    running = np.array([True, False, True, False])
    result = solve(a, b, 1e-3, running=running)
    assert result.converged.tolist() == running.tolist()
    assert not result.x[~torch.from_numpy(running)].any()
    # A row that would need more does not prolong the others.
    tolerance = np.where(running, relative(b, 1e-2), 0.0)
    few = gmres(product_with(a), b, tolerance=tolerance, max_products=100, running=running)
    assert few.products < solve(a, b, 1e-10).products
    assert running.tolist() == [True, False, True, False]
    none = solve(a, b, running=np.zeros(4, dtype=bool))
    assert none.products == 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_product_that_is_not_finite_ends_its_row_and_no_other(bad, at):
    a, b = matrix(9, norm=0.9, seed=34), normal(4, 9, seed=35)
    calls = []

    def product(v):
        calls.append(v)
        out = v @ a.T
        if len(calls) > at:
            out[2] = bad
        return out

    spoiled = gmres(product, b, tolerance=relative(b, 1e-9), max_products=50)
    clean = solve(a, b, 1e-9)
    others = [0, 1, 3]
    assert torch.equal(spoiled.x[others], clean.x[others])
    assert spoiled.converged.tolist() == [True, True, False, True]
    # Its last finite x is the one of the products before, with its residual.
    before = solve(a, b, 0.0, max_products=max(1, at))
    assert spoiled.x.isfinite().all()
    if at == 0:
        assert not spoiled.x[2].any()
        assert spoiled.residual[2] == pytest.approx(b[2].norm().item(), rel=1e-14)
    else:
        torch.testing.assert_close(spoiled.x[2], before.x[2], rtol=1e-12, atol=1e-13)
        assert spoiled.residual[2] == pytest.approx(before.residual[2], rel=1e-10)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@every_dtype
def test_a_right_hand_side_that_is_not_finite_leaves_its_row_at_zero(bad, dtype):
    a, b = matrix(9, norm=0.9, seed=36), normal(3, 9, seed=37).to(dtype)
    clean = solve(a, b, 1e-5)
    tolerance = relative(b, 1e-5)
    b[1, 4] = bad
    spoiled = gmres(product_with(a), b, tolerance=tolerance, max_products=50)
    # Not the same bits: the clean batch may take more products, in larger small systems.
    torch.testing.assert_close(spoiled.x[[0, 2]], clean.x[[0, 2]], rtol=1e-6, atol=1e-14)
    assert spoiled.x[1].tolist() == [0.0] * 9
    assert not np.isfinite(spoiled.residual[1])
    assert spoiled.converged.tolist() == [True, False, True]


def test_nan_at_a_restart_goes_back_to_where_the_residual_was_known():
    a, b = matrix(30, norm=0.95, seed=38, symmetric=True), normal(2, 30, seed=39)
    calls = []

    def product(v):
        calls.append(v)
        out = v @ a.T
        if len(calls) == 5:  # the restart after a cycle of four
            out[0] = torch.nan
        return out

    result = gmres(product, b, tolerance=relative(b, 1e-9), max_products=200, restart=4)
    assert result.converged.tolist() == [False, True]
    assert not result.x[0].any()
    assert result.residual[0] == pytest.approx(b[0].norm().item())


def test_a_singular_system_without_solution_ends_unsolved_at_its_least_residual():
    # Row 0: x = x + b has none. Row 1 of the same batch has one.
    scale = torch.tensor([[1.0], [0.5]], dtype=F64)
    b = normal(2, 5, seed=40)
    result = gmres(lambda v: scale * v, b, tolerance=relative(b, 1e-9), max_products=100)
    assert result.converged.tolist() == [False, True]
    assert result.x.isfinite().all()
    assert result.residual[0] == pytest.approx(b[0].norm().item())
    torch.testing.assert_close(result.x[1], 2 * b[1], rtol=1e-12, atol=0)
    assert result.products < 10  # it gives up rather than spend all


@every_dtype
def test_a_singular_system_with_a_solution_finds_one(dtype):
    a = torch.diag(torch.tensor([1.0, 0.5, -0.5, 0.2, 0.0], dtype=F64))
    b = normal(2, 5, seed=41).to(dtype)
    b[:, 0] = 0.0
    share = 20 * EPS[dtype]
    result = solve(a, b, share)
    assert result.converged.all()
    assert (true_residual(a, b, result.x) <= 1.1 * relative(b, share)).all()


def test_a_row_that_restarts_cannot_help_is_given_up():
    # I - A is skew-symmetric: r'(I - A) r = 0, and no multiple of r brings GMRES(1) anything.
    skew = normal(8, 8, seed=60)
    a, b = torch.eye(8, dtype=F64) - (skew - skew.T), normal(2, 8, seed=61)
    result = solve(a, b, 1e-9, restart=1)
    assert not result.converged.any()
    assert result.products == 2
    assert solve(a, b, 1e-9, restart=8).converged.all()


def test_a_start_saves_products_and_its_residual_is_the_first_of_the_trace():
    a, b = matrix(20, norm=0.9, seed=42), normal(3, 20, seed=43)
    x0 = dense(a, b) + 1e-6 * normal(3, 20, seed=44)
    result = solve(a, b, 1e-9, x0=x0)
    np.testing.assert_allclose(result.trace[0], true_residual(a, b, x0), rtol=1e-6)
    assert result.converged.all()
    assert result.products < solve(a, b, 1e-9).products
    exact = solve(a, b, 1e-9, x0=dense(a, b))
    assert exact.products == 1
    assert torch.equal(exact.x, dense(a, b))


def best_multiple(a, b, x):
    """The x c of least residual, by a dense least-squares problem for each row."""
    images = x - x @ a.T
    pairs = zip(images, b, strict=True)
    c = torch.cat([torch.linalg.lstsq(y[:, None], r[:, None]).solution[0] for y, r in pairs])
    return c[:, None] * x


@every_dtype
@pytest.mark.parametrize("host", ["cpu", "another device"])
def test_a_start_is_rescaled_to_its_best_multiple(monkeypatch, dtype, host):
    monkeypatch.setattr(linear_system, "HOST", host)
    a, b = MATRICES["random beyond 1"](8), normal(3, 8, seed=2)
    x = torch.tensor([[-1e6], [1.0], [1e-6]], dtype=F64) * normal(3, 8, seed=3)
    best = best_multiple(a, b, x)
    first = (b - best + best @ a.T).norm(dim=1)
    options = {"tolerance": np.full(3, 1e-3), "max_products": 30, "rescaled": True}
    result = gmres(product_with(a), b.to(dtype), x0=x.to(dtype), **options)
    np.testing.assert_allclose(result.trace[0], first, rtol=30 * EPS[dtype])
    assert (result.trace[0] <= b.norm(dim=1).numpy()).all()
    error = (result.x.double() - dense(a, b)).norm(dim=1)
    smallest = torch.linalg.svdvals(torch.eye(8, dtype=F64) - a)[-1]
    assert (error <= 1.01e-3 / smallest).all()


@pytest.mark.parametrize("host", ["cpu", "another device"])
def test_a_start_that_tells_nothing_is_zero(monkeypatch, host):
    monkeypatch.setattr(linear_system, "HOST", host)
    a, b = MATRICES["random"](8), normal(4, 8, seed=2)
    x = torch.stack(
        [torch.full((8,), bad, dtype=F64) for bad in (0.0, torch.nan, torch.inf, 1e-320)]
    )
    options = {"tolerance": np.full(4, 1e-9), "max_products": 30}
    found = gmres(product_with(a), b, x0=x, rescaled=True, **options)
    plain = gmres(product_with(a), b, **options)
    np.testing.assert_allclose(found.trace[0], b.norm(dim=1).numpy(), rtol=1e-15)
    torch.testing.assert_close(found.x, plain.x, rtol=1e-9, atol=0)
    assert found.products <= plain.products + 1


@every_dtype
@pytest.mark.parametrize("host", ["cpu", "another device"])
def test_an_image_that_is_known_is_the_first_product(monkeypatch, dtype, host):
    monkeypatch.setattr(linear_system, "HOST", host)
    a, b, calls = MATRICES["random"](8), normal(4, 8, seed=2).to(dtype), []
    b[1], b[2] = 0.0, 1e9 * b[2]
    options = {"tolerance": 1e-3 * b.double().norm(dim=1).numpy(), "max_products": 6}
    plain = gmres(product_with(a), b, **options)
    found = gmres(product_with(a, calls), b, image=product_with(a)(b), **options)
    assert found.products == len(calls)
    assert host != "cpu" or found.products == plain.products - 1
    assert found.converged.all()
    torch.testing.assert_close(found.x, plain.x, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(found.trace[0], plain.trace[0], rtol=100 * EPS[dtype])


def test_the_basis_grows_and_is_never_larger_than_asked():
    a, b = matrix(50, norm=0.95, seed=45, symmetric=True), normal(2, 50, seed=46)
    for products in (1, 7, 8, 9, 17, 31):
        result = solve(a, b, 0.0, max_products=products)
        assert result.products == products
        gap = true_residual(a, b, result.x) - result.residual
        assert np.abs(gap).max() < 1e-13


def test_float32_keeps_its_basis_orthogonal_where_one_pass_would_lose_it():
    # Products that lie almost within the space there is: claims stay true all the same.
    a = symmetric_with(1 - np.logspace(-4, 0, 40), seed=47)
    b = normal(4, 40, seed=48).float()
    for products in (10, 20, 40):
        result = solve(a, b, 0.0, max_products=products, restart=40)
        gap = np.abs(true_residual(a, b, result.x) - result.residual)
        assert (gap <= rounding(a, b, result.x)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_solved_to_what_it_can_tell(dtype):
    a, b = matrix(8, norm=0.5, seed=49), normal(3, 8, seed=50).to(dtype)
    seen = []
    result = gmres(
        lambda v: (seen.append(v.dtype), v @ a.T.to(dtype))[1],
        b,
        tolerance=relative(b, 0.05),
        max_products=30,
    )
    assert set(seen) == {dtype}
    assert result.x.dtype == dtype
    assert result.converged.all()
    assert (true_residual(a, b, result.x) <= relative(b, 0.08)).all()


@pytest.mark.parametrize("restart", [6, 30])
@every_dtype
def test_a_device_gets_the_same_answers_in_chunks_without_looking(monkeypatch, dtype, restart):
    a, b = matrix(25, norm=0.95, seed=51), normal(4, 25, seed=52).to(dtype)
    b[1] = 0.0
    tolerance = np.array([1e-1, 0.0, 1e-3, 1e-4])
    options = {"tolerance": tolerance, "max_products": 60, "restart": restart}
    host = gmres(product_with(a), b, **options)
    monkeypatch.setattr(linear_system, "HOST", "another device")
    calls = []
    there = gmres(product_with(a, calls), b, **options)
    assert there.converged.tolist() == host.converged.tolist() == [True] * 4
    torch.testing.assert_close(there.x, host.x, rtol=1e-4, atol=200 * EPS[dtype])
    # A chunk more at most than it needs, and no fewer.
    assert host.products <= there.products == len(calls) <= host.products + arnoldi.CHUNK
    few = gmres(product_with(a), b, **(options | {"max_products": 11}))
    assert few.products <= 11


def test_on_a_device_a_failed_row_spoils_no_other(monkeypatch):
    a, b = matrix(9, norm=0.9, seed=53), normal(3, 9, seed=54)
    monkeypatch.setattr(linear_system, "HOST", "another device")
    calls = []

    def product(v):
        calls.append(v)
        out = v @ a.T
        if len(calls) > 2:
            out[1] = torch.nan
        return out

    spoiled = gmres(product, b, tolerance=relative(b, 1e-9), max_products=50)
    clean = solve(a, b, 1e-9)
    assert spoiled.converged.tolist() == [True, False, True]
    assert torch.equal(spoiled.x[[0, 2]], clean.x[[0, 2]])
    torch.testing.assert_close(spoiled.x[1], solve(a, b, 0.0, max_products=2).x[1])


def test_a_claim_below_rounding_is_not_believed_until_a_product_confirms_it():
    # After D products the recurrence says 1e-15; float32 can do no better than about 1e-6.
    a, b = matrix(8, norm=0.99, seed=60, symmetric=True), normal(5, 8, seed=61).float()
    result = solve(a, b, 1e-9)
    assert not result.converged.any()
    assert (
        np.abs(true_residual(a, b, result.x) - result.residual) <= rounding(a, b, result.x)
    ).all()
    # One that a product can confirm is.
    assert solve(a, b, 5e-6).converged.all()


def test_a_product_may_return_its_argument_or_a_tensor_on_a_tape():
    b = normal(2, 3, seed=55)
    identity = gmres(lambda v: v, b, tolerance=relative(b, 1e-9), max_products=5)
    assert not identity.converged.any()
    w = torch.full((3,), 0.5, dtype=F64, requires_grad=True)
    b.requires_grad_()
    result = gmres(lambda v: v * w, b, tolerance=relative(b.detach(), 1e-9), max_products=5)
    assert not result.x.requires_grad
    torch.testing.assert_close(result.x, 2 * b.detach())


def test_nothing_that_was_passed_in_is_written_to():
    a, b, x0 = matrix(6, norm=0.9, seed=56), normal(2, 6, seed=57), normal(2, 6, seed=58)
    tolerance, running = relative(b, 1e-9), np.array([True, True])
    copies = [b.clone(), x0.clone(), tolerance.copy(), running.copy()]
    options = {"tolerance": tolerance, "max_products": 50, "x0": x0, "running": running}
    gmres(product_with(a), b, restart=3, **options)
    gmres(product_with(a), b, rescaled=True, **options)
    assert torch.equal(b, copies[0])
    assert torch.equal(x0, copies[1])
    assert (tolerance == copies[2]).all()
    assert running.tolist() == copies[3].tolist()


@pytest.mark.parametrize("name", ["restart", "max_products"])
def test_a_count_below_one_is_refused(name):
    options = {"restart": 3, "max_products": 3} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        gmres(lambda v: v, torch.ones(1, 1), tolerance=np.zeros(1), **options)


def test_a_restart_does_not_forget_how_large_x_is():
    # |x| is a thousand times |b|: in float32 no residual below its rounding is known. The second
    # cycle adds little to x, and its recurrence claims far less than that.
    spectrum = 1 - torch.logspace(0, -3, 8, dtype=F64)
    a, b = symmetric_with(spectrum, seed=30), normal(20, 8, seed=31)
    low, allowed = a.float(), 1e-5
    result = gmres(
        lambda v: v @ low,
        b.float(),
        tolerance=np.full(20, allowed),
        max_products=200,
        restart=8,
    )
    x = result.x.double()
    assert x.norm(dim=1).max() > 100 * b.norm(dim=1).max()
    true = (b - x + x @ low.double()).norm(dim=1).numpy()
    assert (true[result.converged] <= 3 * allowed).all()
    assert (true <= 3 * result.residual).all()


@pytest.mark.parametrize("dim", [64, 128])
def test_a_short_basis_gives_way_to_a_longer_one_where_it_brings_little(dim):
    """On a circle of eigenvalues no polynomial of low degree is small: 30 products gain nothing."""
    a, b = block_rotation(dim, 0.99).to(F64), normal(2, dim, seed=1)

    def solved(restart):
        tolerance = 1e-8 * b.norm(dim=1).numpy()
        return gmres(
            lambda v: v @ a.T, b, tolerance=tolerance, max_products=3 * dim, restart=restart
        )

    assert not solved(30).converged.any()
    long = solved(None)
    exact = torch.linalg.solve(torch.eye(dim, dtype=F64) - a, b.T).T
    torch.testing.assert_close(long.x, exact, rtol=1e-5, atol=1e-6)
    assert long.converged.all()


def far_from_normal(seed):
    """A matrix of radius .994 whose singular values span three orders: I - A is nearly singular
    in directions of which b holds little, and residuals do not show it."""
    gen = torch.Generator().manual_seed(seed)
    matrix = torch.linalg.qr(torch.randn(12, 12, generator=gen, dtype=F64))[0]
    matrix = matrix * torch.logspace(-3, 0, 12, dtype=F64)
    return 0.994 * matrix / torch.linalg.eigvals(matrix).abs().max()


@pytest.mark.parametrize("accuracy", [1e-3, 1e-5])
def test_by_error_holds_where_the_matrix_is_far_from_normal(accuracy):
    """Held to the rate of the residuals alone, errors were up to 166 times as large as asked."""
    excess = []
    for seed in range(100):
        a, b = far_from_normal(seed), normal(1, 12, seed=seed + 1)
        result = gmres(
            lambda v, a=a: v @ a.T,
            b,
            tolerance=accuracy * b.norm(dim=1).numpy(),
            by_error=True,
            max_products=50,
        )
        exact = torch.linalg.solve(torch.eye(12, dtype=F64) - a, b.T).T
        assert result.converged.all()
        excess.append(float((result.x - exact).norm() / exact.norm()) / accuracy)
    assert max(excess) <= 2.5, max(excess)
