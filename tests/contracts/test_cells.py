"""What every cell keeps, and a layer that is made of it; see `cells`."""

import io
import math
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from deqlab import DEQ, Anderson, Implicit, JacobianFree
from deqlab.gradients import Dense
from deqlab.nn import Cell, Prepared
from tests.contracts.cells import CELLS, every_cell, parametrised

SOLVER = Anderson(rtol=1e-11, max_steps=300)
EXACT = Implicit(solver=Dense())
CERTIFIED = {name: kept for name, kept in CELLS.items() if kept.certificate is not None}


def made(kept, seed=0):
    torch.manual_seed(seed)
    return kept.make().double()


def noise(state, scale=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tree_map(
        lambda t: t + scale * torch.randn(t.shape, generator=generator, dtype=t.dtype), state
    )


def close(a, b, rtol=1e-9, atol=1e-11):
    for one, other in zip(tree_leaves(a), tree_leaves(b), strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@every_cell
def test_it_prepares_once_what_every_evaluation_takes(kept):
    cell, x = made(kept), kept.x(4)
    z = noise(cell.initial(x))
    prepared = cell.prepare(x)
    assert isinstance(prepared, Prepared)
    close(cell.update(z, prepared.shared, prepared.rows), cell(z, x), rtol=1e-14, atol=1e-15)
    for row in tree_leaves(prepared.rows):
        assert len(row) == 4


@every_cell
def test_f_keeps_the_structure_the_shapes_and_the_dtype_of_the_state(kept):
    for dtype in (torch.float32, torch.float64):
        cell, x = made(kept).to(dtype), kept.x(4).to(dtype)
        z = cell.initial(x)
        image = cell(z, x)
        assert type(image) is type(z)
        for before, after in zip(tree_leaves(z), tree_leaves(image), strict=True):
            assert before.shape == after.shape
            assert before.dtype == after.dtype == dtype


@every_cell
def test_it_starts_anywhere_and_ends_at_the_same_point(kept):
    cell, x = made(kept), kept.x(4)
    deq = DEQ(cell, solver=SOLVER, on_failure="raise")
    z = deq(x)
    close(cell(z, x), z)
    close(deq(x, z0=noise(z, scale=0.1)), z, rtol=1e-7, atol=1e-9)


@every_cell
def test_its_gradients_are_those_of_finite_differences(kept):
    cell, x = made(kept), kept.x(2).requires_grad_()
    deq = DEQ(cell, solver=SOLVER, gradient=EXACT, on_failure="raise")
    generator = torch.Generator().manual_seed(3)

    def normal(like):
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    u = [normal(t) for t in tree_leaves(cell.initial(x))]

    def loss():
        return sum((a * b).sum() for a, b in zip(u, tree_leaves(deq(x)), strict=True))

    inputs = [x, *cell.parameters()]
    for tensor, gradient in zip(inputs, torch.autograd.grad(loss(), inputs), strict=True):
        direction, ends = normal(tensor), []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                tensor.add_(step * direction)
                ends.append(loss())
            tensor.add_(1e-5 * direction)
        slope = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-6)


@every_cell
def test_its_rows_do_not_see_each_other_and_may_leave(kept):
    if not kept.rows_independent:
        pytest.skip("it promises nothing about rows")
    cell, x = made(kept), kept.x(5)
    z = noise(cell.initial(x))
    whole = cell(z, x)
    for i in range(5):
        alone = cell(tree_map(lambda t, i=i: t[i : i + 1], z), x[i : i + 1])
        close(alone, tree_map(lambda t, i=i: t[i : i + 1], whole), rtol=1e-12, atol=1e-13)
    x[0] = 0  # one row is done before the others
    stay = DEQ(cell, solver=SOLVER, on_failure="raise")
    leave = DEQ(cell, solver=SOLVER, rows_independent=True, on_failure="raise")
    close(leave(x), stay(x))


@every_cell
@pytest.mark.parametrize("leading", [(), (6,), (2, 3), (0,), (2, 0)])
def test_any_dimensions_may_stand_in_front_of_a_sample(kept, leading):
    cell = made(kept)
    if not kept.leading:
        assert cell.sample_dims is None
        return
    x = kept.x(*leading)
    deq = DEQ(cell, solver=SOLVER)
    flat = deq(x.reshape(-1, *kept.sample))
    value = deq(x)
    for part, expected in zip(tree_leaves(value), tree_leaves(flat), strict=True):
        assert part.shape[: len(leading)] == leading
        torch.testing.assert_close(part.reshape(expected.shape), expected, rtol=1e-12, atol=1e-13)
    close(cell(value, x), value)


@every_cell
def test_it_is_saved_and_pickled_with_all_that_it_is(kept):
    cell, other, x = made(kept), made(kept, seed=9), kept.x(3)
    z = noise(cell.initial(x))
    buffer = io.BytesIO()
    torch.save(cell.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    close(other(z, x), cell(z, x), rtol=0, atol=0)
    try:
        copy = pickle.loads(pickle.dumps(cell))
    except (AttributeError, pickle.PicklingError) as error:  # pragma: no cover
        pytest.fail(f"{type(cell).__name__} cannot be pickled: {error}")
    close(copy(z, x), cell(z, x), rtol=0, atol=0)
    assert [n for n, _ in copy.named_parameters()] == [n for n, _ in cell.named_parameters()]


@every_cell
def test_it_works_under_autocast(kept):
    cell, x = made(kept).float(), kept.x(3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error")
        z = DEQ(cell, solver=Anderson(rtol=5e-2), on_failure="raise")(x)
    with torch.no_grad():
        exact = DEQ(cell, solver=Anderson(rtol=1e-6), on_failure="raise")(x)
    for one, other in zip(tree_leaves(z), tree_leaves(exact), strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert (one - other).norm() <= 0.2 * other.norm()


@every_cell
@pytest.mark.slow
@pytest.mark.usefixtures("traceable")
# Where a graph breaks, torch looks at .grad of all that it hands over.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("fullgraph", [False, True])
def test_it_compiles(kept, fullgraph):
    cell, x = made(kept).float(), kept.x(3).float()
    # One graph has no backward pass of Implicit; elsewhere the solve runs outside of the graphs.
    gradient = JacobianFree() if fullgraph else Implicit()
    deq = DEQ(cell, solver=Anderson(rtol=1e-5), gradient=gradient)
    compiled = torch.compile(deq, fullgraph=fullgraph, backend="eager")
    if fullgraph and not kept.one_graph:
        refused = (torch._dynamo.exc.Unsupported, torch._dynamo.exc.UserError)
        with pytest.raises(refused, match=r"[Dd]ata-dependent (branching|expression)"):
            compiled(x)
        return
    expected, value = deq(x), compiled(x)
    close(value, expected, rtol=1e-3, atol=1e-4)
    for out in (expected, value):
        sum(t.square().sum() for t in tree_leaves(out)).backward()
    assert all(p.grad is not None for p in cell.parameters())


@parametrised(CERTIFIED)
def test_its_certificate_holds_at_the_start_on_wild_weights_and_while_it_trains(kept):
    cell, x = made(kept), kept.x(6)
    assert kept.certificate(cell) > 0
    assert_it_says_so(kept, cell)
    if not hasattr(cell, "check"):  # who refuses such weights need not withstand them
        for seed in range(5):
            wild = made(kept)
            with torch.no_grad():
                for i, p in enumerate(wild.parameters()):
                    p.copy_(noise(p, scale=4.0, seed=10 * seed + i))
            assert kept.certificate(wild) > 0
            assert_it_says_so(kept, wild)
    deq = DEQ(cell, solver=kept.solver or SOLVER, gradient=EXACT, on_failure="raise")
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.05)
    for _ in range(10):
        optimizer.zero_grad()
        sum(t.square().sum() for t in tree_leaves(deq(x))).backward()
        optimizer.step()
        assert kept.certificate(cell) > 0
    assert_it_says_so(kept, cell)


@parametrised(CERTIFIED)
def test_nothing_is_proved_of_weights_that_are_not_finite(kept):
    assert made(kept).certificate().holds
    for name, _ in made(kept).named_parameters():
        cell = made(kept)
        with torch.no_grad():
            cell.get_parameter(name).view(-1)[0] = torch.nan
        assert not cell.certificate().holds, name


def assert_it_says_so(kept, cell):
    """The certificate of the cell has the margin of the independent route."""
    certificate = cell.certificate()
    assert certificate.holds
    assert certificate.exists
    assert certificate.unique == kept.unique
    if not kept.unique:
        assert math.isnan(certificate.margin)
        return
    if kept.bounded:
        assert 0 < certificate.margin <= kept.certificate(cell)
        return
    # Taken off for rounding, which is relative to the weights: those of wild cells are of size 100.
    assert certificate.margin == pytest.approx(kept.certificate(cell), rel=1e-9, abs=1e-9)


def test_a_cell_that_prepares_something_else_is_told_what_to_return():
    class Old(Cell):
        def initial(self, x):
            return torch.zeros_like(x)

        def prepare(self, x):
            return (lambda z, x: z / 2 + x), (x,)

        def update(self, z, shared, rows):
            return z / 2 + rows

    with pytest.raises(TypeError, match=r"Old\.prepare must return Prepared\(shared=\.\.\., rows="):
        DEQ(Old())(torch.ones(2, 3))


def test_every_public_cell_is_in_the_contract():
    from deqlab import nn as public

    cells = {
        name
        for name in public.__all__
        if isinstance(getattr(public, name), type) and issubclass(getattr(public, name), Cell)
    } - {"Cell"}
    assert cells <= {name.split("-")[0] for name in CELLS}


def test_the_contract_is_one_of_modules():
    assert all(isinstance(made(kept), nn.Module) for kept in CELLS.values())
