"""A hybrid is its explicit part, and an equilibrium that starts and is fed where that ends."""

import torch

from deqlab import Anderson, Picard
from deqlab.gradients import Loops
from deqlab.nn import explicit_transformer, hybrid_transformer

SOLVER = Anderson(rtol=1e-8, max_steps=100)


def test_at_cap_zero_it_is_the_explicit_network_of_all_its_blocks():
    torch.manual_seed(0)
    hybrid = hybrid_transformer(7, 6, 8, 2, layers=2, cap=0.0, solver=SOLVER).double()
    explicit = explicit_transformer(7, 6, 8, 2, layers=2).double()
    explicit.load_state_dict(
        {
            name.replace("body.backbone.", "body."): value
            for name, value in hybrid.state_dict().items()
            if not name.startswith("body.deq.")
        }
    )
    tokens = torch.randint(7, (3, 6))
    c = explicit.body(explicit.embedded(tokens))
    expected = hybrid.body.deq.cell(torch.zeros_like(c), c)
    torch.testing.assert_close(hybrid(tokens), hybrid.logits(expected))


def test_it_starts_where_the_backbone_ends():
    torch.manual_seed(0)
    hybrid = hybrid_transformer(7, 6, 8, 2, solver=Picard(record=(1,)))
    x = hybrid.embedded(torch.randint(7, (3, 6)))
    solution = hybrid.body.solve(x)
    assert torch.equal(solution.states[0], hybrid.body.backbone(x))
    z0 = torch.randn_like(x)
    assert torch.equal(hybrid.body.solve(x, z0=z0).states[0], z0)


def test_its_gradient_is_that_of_many_loops_through_both_parts():
    torch.manual_seed(0)
    hybrid = hybrid_transformer(7, 6, 8, 2, cap=0.3, solver=SOLVER).double()
    tokens = torch.randint(7, (2, 6))

    def gradients():
        hybrid.zero_grad()
        hybrid(tokens).square().mean().backward()
        return [parameter.grad.clone() for parameter in hybrid.parameters()]

    hybrid.body.deq.gradient = type(hybrid.body.deq.gradient)()  # to its default accuracy
    implicit = gradients()
    hybrid.body.deq.gradient = Loops(steps=80)
    for one, other in zip(implicit, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)
