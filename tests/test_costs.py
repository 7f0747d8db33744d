"""FLOPs and memory against counts by hand."""

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Implicit, Phantom, Picard, fixed_point
from deqlab.costs import flops, peak_memory

MEGABYTE = 2**20


def megabytes(count):
    return torch.empty(count * MEGABYTE // 4)


def test_a_matrix_product_costs_two_operations_per_multiply_add():
    count, result = flops(lambda: torch.ones(3, 5) @ torch.ones(5, 7))
    assert count == 2 * 3 * 5 * 7
    assert result.shape == (3, 7)


class Plain(nn.Module):
    """A cell whose weight belongs to a module inside."""

    def __init__(self):
        super().__init__()
        self.back = nn.Linear(8, 8)

    def forward(self, z, x):
        return 0.1 * self.back(z) + x


def test_the_backward_pass_of_a_cell_with_modules_inside_is_counted():
    # Two evaluations, of which one has the tape, a product with J', and the gradient of the weight.
    deq = DEQ(Plain(), solver=Picard(max_steps=2), gradient=Phantom(steps=2), on_failure="ignore")
    x = torch.ones(4, 8)
    one, _ = flops(lambda: deq.cell(x, x))
    count, _ = flops(lambda: deq(x).sum().backward())
    assert deq.last.evaluations == 2
    assert count == 5 * one
    assert deq.cell.back.weight.grad.any()


def test_solver_and_adjoint_iterations_are_counted():
    # Each evaluation of f and each adjoint product is one product of (B, m) with (m, m); the
    # gradients of W and q add one for W, and the residual of v takes one more. Picard itself
    # multiplies no matrices, and the tape is that of its last evaluation.
    w = (torch.eye(8) * 0.5).requires_grad_()
    q = torch.ones(4, 8)
    solver = Picard(rtol=1e-3)

    def step():
        solution = fixed_point(
            lambda z, w: z @ w + q,
            torch.zeros(4, 8),
            w,
            solver=solver,
            gradient=Implicit(solver=solver),
        )
        solution.value.sum().backward()
        return solution

    count, solution = flops(step)
    products = sum(adjoint.evaluations for adjoint in solution.adjoint)
    assert products >= 5
    assert count == 2 * 4 * 8 * 8 * (solution.evaluations + products + 2)


@pytest.mark.parametrize(("b", "columns"), [((2, 5, 3), 3), ((2, 5), 1)])
def test_a_linear_system_costs_an_lu_and_two_triangular_solves(b, columns):
    a = torch.eye(5).expand(2, 5, 5)
    count, _ = flops(lambda: torch.linalg.solve(a, torch.ones(b)))
    assert count == 2 * (2 * 5**3 // 3 + 2 * 5**2 * columns)


def test_peak_memory_is_the_most_that_lives_at_once():
    def run():
        a = megabytes(3)
        del a
        b, c = megabytes(2), megabytes(2)
        return b, c

    assert peak_memory(run) == 4 * MEGABYTE


def test_what_a_tape_keeps_is_counted():
    # relu keeps its result for the backward pass, though no Python name holds it.
    layers = nn.Sequential(*[nn.Sigmoid() for _ in range(6)])
    x = megabytes(1).requires_grad_()
    assert peak_memory(lambda: layers(x).sum().backward(), [x]) == pytest.approx(
        8.5 * MEGABYTE, rel=0.12
    )


def test_views_share_their_memory():
    assert peak_memory(lambda: [megabytes(2).view(2, -1)[i] for i in range(2)]) <= 4 * MEGABYTE


def test_what_was_there_before_counts_if_it_is_named():
    held = megabytes(5)
    assert peak_memory(lambda: megabytes(1), [held]) == 6 * MEGABYTE


def test_the_memory_of_anderson_does_not_grow_with_its_steps():
    w = 0.9 * torch.linalg.qr(torch.randn(128, 128))[0]
    q = torch.randn(16, 128)

    def peak(steps):
        solver = Anderson(rtol=0.0, atol=0.0, max_steps=steps, patience=steps + 1)
        return peak_memory(
            lambda: solver.solve(lambda z: torch.tanh(z @ w + q), torch.zeros_like(q)), [w, q]
        )

    # One state more: the best iterate and the current one are not always the same.
    assert peak(40) <= peak(10) + 16 * 128 * 4


def test_a_sparse_product_costs_what_is_stored_and_a_substitution_half_a_square():
    sparse = torch.eye(50).to_sparse_coo()
    assert flops(lambda: sparse @ torch.ones(50, 3))[0] == 2 * 50 * 3
    assert flops(lambda: torch.eye(50) @ torch.ones(50, 3))[0] == 2 * 50 * 50 * 3
    upper = torch.ones(2, 5, 5).triu()
    right = torch.ones(2, 5, 3)
    count, _ = flops(lambda: torch.linalg.solve_triangular(upper, right, upper=True))
    assert count == 2 * 5 * 5 * 3


def test_complex_products_cost_four_times_those_of_real_numbers():
    for dtype, each in ((torch.float32, 2), (torch.complex64, 8)):
        a, b = torch.ones(2, 3, 5, dtype=dtype), torch.ones(2, 5, 7, dtype=dtype)
        assert flops(lambda a=a, b=b: a @ b)[0] == each * 2 * 3 * 5 * 7
        assert flops(lambda a=a, b=b: a[0] @ b[0])[0] == each * 3 * 5 * 7
        c = torch.zeros(2, 3, 7, dtype=dtype)
        assert flops(lambda a=a, b=b, c=c: torch.baddbmm(c, a, b))[0] == each * 2 * 3 * 5 * 7
