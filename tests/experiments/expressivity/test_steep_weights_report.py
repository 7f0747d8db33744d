"""The verdict of steep-weights on rows written by hand."""

from dataclasses import replace

import pytest

from deqlab.experiments.expressivity.steep_weights import EXPERIMENT

# Norms of two seeds for each d; None: not reached.
SMALL, LARGE = (2.0, 3.0), (4.0, 9.0)


def judge(**norms):
    """The verdict on norms by arm; each arm has one a seed for every d of `steepness`, in order."""
    steepness = norms.pop("steepness", (6, 8))
    num_seeds = len(norms["deq"][0])
    rows = []
    for arm, pairs in norms.items():
        for d, pair in zip(steepness, pairs, strict=True):
            for seed, norm in enumerate(pair):
                rows.append({"kind": "point", "arm": arm, "seed": seed, "d": d, "norm": norm})
        matching = None if arm == "deq" else "bound" if arm == "bound" else "parameters"
        seeds = range(1 if arm == "bound" else num_seeds)
        rows += [
            {"kind": "summary", "arm": arm, "seed": s, "label": arm.upper(), "matching": matching}
            for s in seeds
        ]
    seeds = tuple(range(num_seeds))
    config = replace(EXPERIMENT.presets["smoke"], seeds=seeds, log2_steepness=steepness)
    return EXPERIMENT.judge(config, rows)


def test_below_every_fnn_at_every_d_holds():
    verdict = judge(deq=[SMALL, SMALL], a=[LARGE, LARGE], b=[LARGE, (3.5, 50.0)])
    assert verdict.outcome == "holds"
    assert "for 2 of 2 values of d up to 10 (at d = 8: 2.5 against 6.5 or more in median);" in (
        verdict.sentence
    )
    assert "Trained to an error of 0.1 at most, over 2 seeds," in verdict.sentence
    assert "the largest d at which the DEQ gets there at every seed is 8." in verdict.sentence
    assert verdict.details == (
        "d = 6: DEQ has a norm of 2.5 (2 to 3) at 2 of 2 seeds; A has a norm of 6.5 (4 to 9) at 2 "
        "of 2 seeds, 2.45 times the DEQ's (50 % interval 2 to 3); B has a norm of 6.5 (4 to 9) at "
        "2 of 2 seeds, 2.45 times the DEQ's (50 % interval 2 to 3).",
        "d = 8: DEQ has a norm of 2.5 (2 to 3) at 2 of 2 seeds; A has a norm of 6.5 (4 to 9) at 2 "
        "of 2 seeds, 2.45 times the DEQ's (50 % interval 2 to 3); B has a norm of 26.8 (3.5 to 50) "
        "at 2 of 2 seeds, 5.4 times the DEQ's (50 % interval 1.75 to 16.7).",
    )


def test_below_at_some_d_only_holds_partly():
    verdict = judge(deq=[SMALL, SMALL], a=[LARGE, (1.9, 50.0)])
    assert verdict.outcome == "holds partly"
    assert "for 1 of 2 values of d up to 10 (at d = 6: 2.5 against 6.5" in verdict.sentence


def test_below_some_fnns_only_does_not_count():
    assert judge(deq=[SMALL, SMALL], a=[LARGE, LARGE], b=[SMALL, SMALL]).outcome == (
        "does not hold here"
    )


def test_an_arm_that_was_left_out_is_no_arm_that_never_gets_there():
    verdict = judge(deq=[SMALL, SMALL], a=[LARGE, ()], b=[LARGE, (None, None)])
    assert verdict.outcome == "holds partly"
    assert verdict.details[1].endswith("A is left out, as it missed before; B never gets there.")


def test_norms_are_compared_at_their_own_seed():
    assert judge(deq=[(2.0, 30.0)] * 2, a=[(3.0, 40.0)] * 2).outcome == "holds"
    assert judge(deq=[(2.0, 30.0)] * 2, a=[(40.0, 3.0)] * 2).outcome == "does not hold here"


def test_an_equal_norm_is_not_below():
    assert judge(deq=[SMALL, SMALL], a=[(2.0, 9.0)] * 2).outcome == "does not hold here"


@pytest.mark.parametrize(("below", "outcome"), [(1, "holds"), (3, "does not hold here")])
def test_of_eight_seeds_one_may_be_an_exception(below, outcome):
    fnn = (1.9,) * below + (4.0,) * (8 - below)
    assert judge(deq=[(2.0,) * 8] * 2, a=[fnn] * 2).outcome == outcome


def test_above_does_not_hold():
    verdict = judge(deq=[LARGE, LARGE], a=[SMALL, SMALL])
    assert verdict.outcome == "does not hold here"
    assert "for 0 of 2 values of d up to 10; the largest d" in verdict.sentence


@pytest.mark.parametrize("beyond", [SMALL, LARGE, (None, None)])
def test_a_d_beyond_ten_never_decides(beyond):
    def outcome(first, fnn):
        return judge(steepness=(10, 12), deq=[first, beyond], a=[fnn, (3.5, 3.5)]).outcome

    assert outcome(SMALL, LARGE) == "holds"
    assert outcome(LARGE, SMALL) == "does not hold here"
    assert outcome((2.0, None), LARGE) == "undecided"


def test_without_a_d_up_to_ten_all_is_undecided():
    verdict = judge(steepness=(12, 14), deq=[SMALL, SMALL], a=[LARGE, LARGE])
    assert verdict.outcome == "undecided"
    assert "for 0 of 0 values of d up to 10; the largest d" in verdict.sentence
    assert "is 14." in verdict.sentence


def test_an_fnn_that_never_gets_there_neither_helps_nor_hurts():
    never = [(None, None)] * 2
    assert judge(deq=[SMALL, SMALL], a=[LARGE, LARGE], b=never).outcome == "holds"
    assert judge(deq=[LARGE, LARGE], a=[SMALL, SMALL], b=never).outcome == "does not hold here"
    alone = judge(deq=[SMALL, SMALL], a=never, b=never)
    assert alone.outcome == "undecided"
    assert "A never gets there; B never gets there." in alone.details[0]


def test_an_fnn_counts_from_one_seed_on():
    assert judge(deq=[SMALL, SMALL], a=[(None, 2.5), LARGE]).outcome == "holds partly"
    assert judge(deq=[SMALL, SMALL], a=[(2.5, None), LARGE]).outcome == "holds"
    verdict = judge(deq=[SMALL, SMALL], a=[(4.0, None), LARGE])
    assert verdict.outcome == "holds"
    assert "A has a norm of 4 (4 to 4) at 1 of 2 seeds" in verdict.details[0]


def test_a_d_that_the_deq_misses_at_one_seed_is_undecided():
    missed = judge(deq=[SMALL, (2.0, None)], a=[LARGE, LARGE])
    assert missed.outcome == "holds partly"
    assert "for 1 of 2 values of d up to 10 (at d = 6: " in missed.sentence
    assert "), undecided at d = 8, where the DEQ misses at a seed; " in missed.sentence
    assert missed.sentence.endswith("the largest d at which the DEQ gets there at every seed is 6.")
    assert judge(deq=[LARGE, (2.0, None)], a=[SMALL, LARGE]).outcome == "does not hold here"
    both = judge(deq=[(None, 2.0), (2.0, None)], a=[LARGE, LARGE])
    assert both.outcome == "undecided"
    assert both.sentence.endswith("at no d does the DEQ get there at every seed.")


def test_bounds_are_no_fnns():
    assert judge(deq=[SMALL, SMALL], a=[LARGE, LARGE], bound=[(1.0,), (1.0,)]).outcome == "holds"
    verdict = judge(deq=[SMALL, SMALL], a=[(None, None)] * 2, bound=[(9.0,), (9.0,)])
    assert verdict.outcome == "undecided"
    assert "BOUND" not in "".join(verdict.details)
