"""Norms in words, from rows written by hand."""

from deqlab.experiments.expressivity.open.open_steep_report import compared_norms, norms_by_network


def arm(route, network, losses, norms, *, family="fnn", bounds=(None,) * 3):
    return [
        {
            "kind": "summary",
            "arm": f"{route}-{network}",
            "seed": seed,
            "label": f"{network} ({route})",
            "network": network,
            "route": route,
            "family": family,
            "test_loss": loss,
            "norm": norm,
            "bound": bound,
        }
        for seed, (loss, norm, bound) in enumerate(zip(losses, norms, bounds, strict=True))
    ]


DEQ = arm("growth", "DEQ", [1e-22, 1e-21, 1e-3], [3.0, 2.0, 99.0], family="deq")
WORSE = arm("plain", "DEQ", [1e-9] * 3, [1000.0] * 3, family="deq")
FNN = arm("growth", "FNN", [1e-8, 1e-9, 1e-7], [60.0, 50.0, 70.0], bounds=[32.0, 31.0, 33.0])
OTHER = arm("plain", "FNN", [1e-7, None, 1e-2], [40.0, None, 1.0], bounds=[31.0] * 3)
NEAR = arm("construction", "FNN", [1e-22] * 3, [5.0] * 3, bounds=[32.0] * 3)


def test_the_sentence_has_the_most_of_the_best_deq_and_the_least_of_any_fnn_that_learned():
    said = compared_norms(DEQ + WORSE + FNN + OTHER + NEAR, 1e-18)
    assert "infinity norm is 3 at most, and that of an FNN that did 40 at least" in said


def test_nothing_is_said_where_one_side_never_learned():
    failed = arm("growth", "FNN", [1e-2] * 3, [2.0] * 3, bounds=[0.0] * 3)
    assert compared_norms(DEQ + failed, 1e-18) == ""
    stuck = arm("growth", "DEQ", [1e-2] * 3, [2.0] * 3, family="deq")
    assert compared_norms(stuck + FNN, 1e-18) == ""
    assert compared_norms(FNN, 1e-18) == ""


def test_each_network_is_told_of_on_its_best_route_that_is_judged():
    told = list(norms_by_network(WORSE + DEQ + FNN + OTHER + NEAR, 1e-18))
    assert told == [
        "DEQ (growth) learned the ramp at 2 of 3 seeds, with a largest infinity norm of 2.5 "
        "(2 to 3).",
        "FNN (growth) learned the ramp at 3 of 3 seeds, with a largest infinity norm of 60 "
        "(50 to 70); 31 is the least possible at this depth and error.",
    ]


def test_a_network_that_never_learned_has_no_norms():
    failed = arm("plain", "FNN", [1e-2] * 3, [2.0] * 3, bounds=[0.0] * 3)
    assert list(norms_by_network(failed, 1e-18)) == [
        "FNN (plain) learned the ramp at 0 of 3 seeds."
    ]
