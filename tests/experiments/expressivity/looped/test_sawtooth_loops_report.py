"""The verdict on rows written by hand: each answer, and what a "DEQ" was."""

import pytest

from deqlab.experiments.expressivity.looped.sawtooth_loops_report import verdict

SPREAD = (0.999, 1.0, 1.001)


def arm(name, loss, *, solved=None, converged=None, solved_converged=1.0, flops=100, at=(5, 6000)):
    """The rows of an arm over three seeds; a tuple of losses is one for each."""
    family = name.split("-")[0]
    matching = None
    if family == "fnn":
        matching = "FLOPs per step of the loop of 10" if "loop" in name else "parameters"
    losses = [loss * part for part in SPREAD] if isinstance(loss, float) else loss
    rows = []
    for seed, value in enumerate(losses):
        row = {"arm": name, "seed": seed, "family": family, "label": name.upper()}
        row["matching"] = matching
        row |= {"log2_regions": at[0], "budget": at[1], "flops_per_step": flops}
        row["test_loss"] = value
        if family != "fnn":
            row["converged"] = {"loop": 0.0, "deq": 1.0}[family] if converged is None else converged
            row["solved_loss"] = value if solved is None else solved
            row["solved_converged"] = solved_converged
        rows += [{"kind": "point", **row}, {"kind": "summary", **row}]
    return rows


LOOP = arm("loop-10", 0.06, solved=0.3)
DEQ = arm("deq-spectral", 0.082)
FNN = arm("fnn-2-parameters", 0.07) + arm("fnn-2-loop-10", 0.07)
NONE = arm("fnn-2-parameters", 0.083) + arm("fnn-2-loop-10", 0.083)


def judge(*arms, constants=None, budgets=(6000,)):
    rows = [row for rows in arms for row in rows]
    return verdict(rows, constants=constants or {5: 0.0833}, budgets=budgets)


def test_a_loop_ahead_off_its_equilibrium_where_no_deq_is_holds():
    found = judge(LOOP, DEQ, FNN)
    assert found.outcome == "holds"
    assert (
        "the best loop is LOOP-10, test loss 0.06 (0.0599 to 0.0601) as trained, with 0.0 % of"
        in found.sentence
    )
    assert "0.3 (0.3 to 0.3) solved to the end, 100.0 % converged" in found.sentence
    assert "the best DEQ at its equilibrium is DEQ-SPECTRAL, test loss 0.082" in found.sentence
    assert "a constant has 0.0833" in found.sentence
    assert "the advantage is one of truncated loops: LOOP-10 is ahead" in found.sentence


@pytest.mark.parametrize(
    ("arms", "outcome", "why"),
    [
        # Equilibria have the advantage as well, or have it alone.
        ((LOOP, arm("deq-free", 0.061), FNN), "does not hold here", "DEQ-FREE, at its equilibrium"),
        ((arm("loop-10", 0.075), arm("deq-free", 0.05), FNN), "does not hold here", "DEQ-FREE"),
        # The loop that is ahead is at its equilibrium, or stays ahead there.
        ((arm("loop-10", 0.06, converged=1.0), DEQ, FNN), "does not hold here", "at its equilib"),
        ((arm("loop-10", 0.06, solved=0.062), DEQ, FNN), "does not hold here", "stays ahead"),
        # No advantage to explain.
        ((arm("loop-10", 0.08, solved=0.3), DEQ, FNN), "does not hold here", "there is no advan"),
        # What is solved but does not converge is no equilibrium that stays ahead.
        ((arm("loop-10", 0.06, solved=0.062, solved_converged=0.5), DEQ, FNN), "holds", "trunc"),
        # A DEQ that has learned nothing is ahead of no FNN that has not either.
        ((LOOP, arm("deq-free", 0.08), NONE), "holds", "trunc"),
        # Nothing is decided.
        ((arm("loop-10", 0.08), DEQ, NONE), "undecided", "no arm learns"),
        ((arm("loop-10", (0.06, 0.06, 0.08)), DEQ, FNN), "undecided", "no loop is surely ahead"),
        ((LOOP, FNN), "undecided", "no DEQ is at its equilibrium to compare"),
        ((LOOP, arm("deq-free", (0.05, 0.08, 0.08)), FNN), "undecided", "not surely of the DEQs"),
    ],
)
def test_every_answer(arms, outcome, why):
    found = judge(*arms)
    assert found.outcome == outcome
    assert why in found.details[0]


def test_an_arm_off_its_equilibrium_is_not_called_a_deq():
    off = arm("deq-free", 0.05, converged=0.98)
    found = judge(LOOP, DEQ, off, FNN)
    assert found.outcome == "holds"  # though its loss is the least
    assert "the best DEQ at its equilibrium is DEQ-SPECTRAL" in found.sentence
    assert "DEQ-FREE is no DEQ, with 98.0 % of the points at an equilibrium" in found.sentence
    assert any(
        "DEQ-FREE, which is off its equilibrium and no DEQ" in line for line in found.details
    )
    assert judge(LOOP, off, FNN).outcome == "undecided"
    assert judge(LOOP, arm("deq-free", 0.05, converged=0.99), FNN).outcome == "does not hold here"


def test_a_share_that_one_seed_misses_is_missed():
    rows = arm("deq-free", 0.05)
    rows[0]["converged"] = None  # as what is not finite is on disk
    assert judge(LOOP, rows, FNN).outcome == "undecided"


def test_an_fnn_of_more_flops_is_no_rival():
    wide = arm("fnn-5-loop-30", 0.03, flops=300)
    assert judge(LOOP, DEQ, FNN, wide).outcome == "holds"
    near = arm("fnn-5-loop-10", 0.03, flops=125)
    found = judge(LOOP, DEQ, FNN, near)
    assert found.outcome == "holds partly"  # at equal parameters
    assert "at equal parameters the advantage is one of truncated loops" in found.sentence
    assert "at equal FLOPs per step there is no advantage, for every loop" in found.sentence
    # Another loop of its FLOPs is ahead, and then one is not.
    long = arm("loop-30", 0.02, solved=0.3, flops=300)
    assert judge(LOOP, long, DEQ, FNN, near, wide).outcome == "holds"


def test_a_loss_that_is_not_finite_is_the_worst():
    lost = arm("fnn-5-parameters", (None, float("inf"), float("inf")))
    assert judge(LOOP, DEQ, FNN, lost).outcome == "holds"
    broken = arm("loop-10", 0.06, solved=None)
    for row in broken:
        row["solved_loss"] = None
    assert judge(broken, DEQ, FNN).outcome == "holds"


def test_the_claim_is_on_the_first_sawtooth_and_holds_partly_if_at_one_budget():
    later = [
        arm("loop-10", 0.08, solved=0.3, at=(5, 30_000)),
        arm("fnn-2-parameters", 0.06, at=(5, 30_000)),
        arm("fnn-2-loop-10", 0.06, at=(5, 30_000)),
    ]
    other = [arm("loop-10", 0.01, at=(3, 6000)), arm("fnn-2-parameters", 0.001, at=(3, 6000))]
    constants = {5: 0.0833, 3: 0.0833}
    found = judge(LOOP, DEQ, FNN, *later, *other, constants=constants, budgets=(6000, 30_000))
    assert found.outcome == "holds partly"
    assert "30,000 steps" in found.sentence
    assert any(
        "2^3 regions, 6,000 steps: at equal parameters there is no" in line
        for line in found.details
    )
    alone = judge(LOOP, DEQ, FNN, *other, constants=constants, budgets=(6000,))
    assert alone.outcome == "holds"


def test_without_rows_nothing_is_decided():
    assert judge().outcome == "undecided"
