"""Padding: what a transformer says of a sequence depends neither on it nor on where it stands."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from deqlab import DEQ, Anderson
from deqlab.nn import equilibrium_transformer, explicit_transformer, hybrid_transformer

LENGTH = 12
GENERATOR = torch.Generator().manual_seed(0)
LONG, SHORT = (torch.randint(7, (count,), generator=GENERATOR) for count in (9, 5))
# Where the tokens of the short sequence stand beside those of the long one.
PLACES = {
    "left": [4, 5, 6, 7, 8],
    "right": [0, 1, 2, 3, 4],
    "both": [2, 3, 4, 5, 6],
    "holes": [0, 3, 4, 6, 8],
}


def model(kind, *, causal=True):
    torch.manual_seed(0)
    sizes = (7, LENGTH, 8, 2)
    if kind == "explicit":
        made = explicit_transformer(*sizes, layers=2, causal=causal)
    else:
        make = equilibrium_transformer if kind == "deq" else hybrid_transformer
        solver = Anderson(rtol=1e-2, max_steps=30)
        made = make(*sizes, blocks=2, cap=0.5, causal=causal, solver=solver)
    for weights in made.parameters():
        if weights.ndim > 1:
            weights.data.mul_(5)  # at its first weights a position hardly sees the others
    return made.double()


def padded(places):
    tokens = torch.stack([LONG, torch.full_like(LONG, 6)])
    present = torch.zeros_like(tokens, dtype=torch.bool)
    present[0], present[1, places] = True, True
    tokens[1, places] = SHORT[: len(places)]
    return tokens, present


def gradients(made, logits, labels):
    made.zero_grad()
    cross_entropy(logits, labels, reduction="sum").backward()
    return [weights.grad.clone() for weights in made.parameters()]


@pytest.mark.parametrize(
    ("kind", "causal", "where"),
    [
        *(("deq", True, where) for where in PLACES),
        ("deq", False, "holes"),
        ("hybrid", True, "holes"),
        ("explicit", True, "holes"),
    ],
)
def test_it_is_as_if_there_were_none(kind, causal, where):
    # To rounding, and not to the tolerance of the solve: the solver takes the same steps.
    made, places = model(kind, causal=causal), PLACES[where]
    tokens, present = padded(places)
    alone = made(SHORT[None])[0]
    deq = next((part for part in made.modules() if isinstance(part, DEQ)), None)
    steps = deq and deq.last.steps
    logits = made(tokens, present=present)
    torch.testing.assert_close(logits[1, places], alone, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(logits[0], made(LONG[None])[0], rtol=1e-11, atol=1e-12)
    assert not made.states(tokens, present=present)[1, ~present[1]].any()
    if deq is not None:
        assert deq.last.steps[1] == steps[0] > 2
    labels = torch.arange(9) % 7  # of padding too, which nothing goes back into
    found = gradients(made, logits[1], labels)
    expected = gradients(made, alone, labels[places])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_positions_count_tokens_only():
    # Three tokens more than positions in the width of the batch, and as many as there are in it.
    made = model("deq")
    tokens = torch.randint(7, (1, LENGTH + 3), generator=GENERATOR)
    present = torch.ones_like(tokens, dtype=torch.bool)
    present[:, :3] = False
    torch.testing.assert_close(made(tokens, present=present)[:, 3:], made(tokens[:, 3:]))
    present[:, 2] = True
    with pytest.raises(ValueError, match="knows 12 positions, got sequences of length 13"):
        made(tokens, present=present)


def test_a_row_of_padding_is_at_rest():
    made = model("deq")
    tokens, present = padded([])
    logits = made(tokens, present=present)
    assert made.body.last.converged.all()
    torch.testing.assert_close(logits[0], made(LONG[None])[0])
    assert not logits[1].any()


def test_what_is_no_padding_is_refused():
    made = model("deq")
    tokens, present = padded(PLACES["left"])
    with pytest.raises(
        TypeError, match=r"present must be a boolean tensor, .* got a tensor of torch"
    ):
        made.states(tokens, present=present.long())
    with pytest.raises(ValueError, match=r"the shape of the tokens, \(2, 9\), got \(2, 8\)"):
        made.states(tokens, present=present[:, 1:])
