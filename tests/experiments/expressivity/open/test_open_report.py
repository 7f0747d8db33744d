"""The verdict on rows written by hand."""

import pytest

from deqlab.experiments.expressivity.open import open_report
from deqlab.experiments.expressivity.open.losses import floor


def judge(rows):
    return open_report.judge(
        rows,
        subject="On 2^5 linear regions",
        least=floor(5),
        recipes={"growth": "s_k is T(s_(k-1))"},
        deep=5,
    )


def arm(route, family, losses, *, depth=None, converged=1.0, step_flops=10.0):
    name = f"{route}-{family}" + ("" if depth is None else f"-{depth}")
    label = f"{'DEQ' if family == 'deq' else f'FNN of depth {depth}'}, {route}"
    solve = {"converged": converged} if family == "deq" else {}
    return [
        {
            "kind": "summary",
            "arm": name,
            "seed": seed,
            "label": label,
            "route": route,
            "family": family,
            "depth": depth,
            "log2_regions": 5,
            "test_loss": loss,
            "step_flops": step_flops,
            **solve,
        }
        for seed, loss in enumerate(losses)
    ]


PLAIN = arm("plain", "deq", [0.07] * 3) + arm("plain", "fnn", [0.05] * 3, depth=1)
GROWN = arm("growth", "deq", [1e-29, 2e-29, 3e-29])
SHALLOW = arm("growth", "fnn", [1e-8, 1e-9, 1e-7], depth=3)


def test_a_deq_that_beats_all_on_its_best_route_holds():
    verdict = judge(PLAIN + GROWN + SHALLOW)
    assert verdict.outcome == "holds"
    assert "DEQ, growth, has a median test loss of 2e-29" in verdict.sentence
    assert "beats 2 of 2 FNNs" in verdict.sentence
    assert "1 of which have learned it too, with medians from 1e-08 to 1e-08" in verdict.sentence
    assert "s_k is T(s_(k-1))" in verdict.sentence
    assert "without it the DEQ's median is 0.07 at best" in verdict.sentence
    assert "as deep as k" not in verdict.sentence
    assert any("Route plain: DEQ, plain 0.07" in line for line in verdict.details)
    assert any("Against FNN of depth 3, growth: a win" in line for line in verdict.details)


def test_an_fnn_as_deep_as_k_that_is_exact_too_ties_and_is_named():
    deep = arm("growth", "fnn", [1e-31, 1e-28, 9e-27], depth=5, step_flops=2.0)
    verdict = judge(PLAIN + GROWN + SHALLOW + deep)
    assert verdict.outcome == "holds partly"
    assert "beats 2 of 3 FNNs" in verdict.sentence
    assert "ties with FNN of depth 5, growth" in verdict.sentence
    assert "as deep as k, grown the same way, ties with the DEQ, at 0.2 times" in verdict.sentence


def test_one_fnn_that_wins_is_enough_on_any_route():
    better = arm("plain", "fnn", [0.01] * 3, depth=2)
    rows = arm("growth", "deq", [0.02] * 3) + SHALLOW[:0] + PLAIN + better
    verdict = judge(rows)
    assert verdict.outcome == "does not hold here"
    assert "loses to FNN of depth 2, plain" in verdict.sentence


def test_ties_alone_are_no_win():
    deep = arm("growth", "fnn", [1e-29] * 3, depth=5)
    assert judge(GROWN + deep).outcome == "does not hold here"


def test_a_network_that_is_not_at_its_equilibrium_is_no_deq():
    rows = arm("growth", "deq", [1e-29] * 3, converged=0.9) + SHALLOW
    verdict = judge(rows)
    assert verdict.outcome == "undecided"
    assert any("Only 90.0 %" in line for line in verdict.details)
    assert any("worst seed only 90.0 % of its points solved" in line for line in verdict.details)
    assert not any("solved" in line for line in judge(GROWN + SHALLOW).details)


def test_starting_at_the_answer_is_no_training():
    near = arm("construction", "deq", [1e-29] * 3) + arm("construction", "fnn", [1e-9] * 3, depth=5)
    verdict = judge(PLAIN + near)
    assert verdict.outcome == "does not hold here"
    assert "DEQ, DEQ, plain, has" in verdict.sentence
    assert any(line.startswith("Route construction: DEQ") for line in verdict.details)
    assert judge(near).outcome == "undecided"


def test_one_seed_that_differs_makes_a_tie_of_three():
    rows = GROWN + arm("growth", "fnn", [1e-8, 1e-9, 1e-32], depth=4)
    verdict = judge(rows)
    assert "ties with FNN of depth 4, growth" in verdict.sentence


def test_a_loss_that_is_not_finite_is_the_worst():
    rows = GROWN + arm("growth", "fnn", [None, float("inf"), float("nan")], depth=2)
    assert judge(rows).outcome == "holds"


@pytest.mark.parametrize(("k", "least"), [(1, 1e-26), (5, 1e-26), (10, 2.0**-80)])
def test_losses_below_rounding_are_equal(k, least):
    assert floor(k) == pytest.approx(least, rel=1e-12, abs=0)


def test_only_where_a_recipe_won_is_it_told_what_is_known_beforehand():
    best = arm("plain", "deq", [1e-29] * 3)
    deep = arm("plain", "fnn", [1e-29] * 3, depth=5)
    sentence = judge(best + deep + SHALLOW).sentence
    assert "ties with FNN of depth 5, plain" in sentence
    assert "as deep as k" not in sentence
    assert "encodes" not in sentence


def test_of_two_routes_to_rounding_the_first_is_named():
    rows = arm("plain", "deq", [1e-29] * 3) + arm("growth", "deq", [1e-31] * 3) + SHALLOW
    assert "the best trained DEQ, DEQ, plain, has" in judge(rows).sentence
