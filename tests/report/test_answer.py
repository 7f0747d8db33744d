"""The head of a run: changed settings, an outcome or none, and the forest plot of its rivals."""

import math
import re

import pytest

from deqlab.report import ReportError, render
from deqlab.report.contest import read_contest
from deqlab.report.forest import forest

EVIL = "<script>alert(1)</script>"


def rival(label="FNN", result="win", ends=(2.0, 1.5, 4.0), group="equal parameters", sure=0.75):
    estimate, low, high = ends
    return {
        "label": label,
        "group": group,
        "result": result,
        "estimate": estimate,
        "low": low,
        "high": high,
        "confidence": sure,
    }


def contest(*rivals, neutral=1.0):
    texts = {"unit": "times the loss", "advice": "Take the DEQ.", "seeds": "3 more would."}
    return {"neutral": neutral, "rivals": list(rivals) or [rival()], **texts}


def verdict(outcome="holds", details=("Beaten.",), **more):
    return {"outcome": outcome, "sentence": "It wins.", "details": list(details), **more}


def bars(found):
    return [bar for _, of in forest(read_contest(found)).groups for bar in of]


def test_places_are_those_of_a_logarithmic_axis_for_ratios():
    (bar,) = bars(contest(rival(ends=(2.0, 1.0, 4.0))))
    assert bar.at - bar.low == pytest.approx(bar.high - bar.at)
    (bar,) = bars(contest(rival(ends=(2.0, 1.0, 3.0)), neutral=0.0))
    assert bar.at - bar.low == pytest.approx(bar.high - bar.at)


def test_bars_lie_on_their_side_of_a_tie():
    won, lost, tied = bars(
        contest(
            rival(),
            rival(result="loss", ends=(0.5, 0.2, 0.9)),
            rival(result="tie", ends=(1.0, 0.5, 2.0)),
        )
    )
    neutral = forest(read_contest(contest(rival()))).neutral
    assert 0 < neutral < 1
    neutral = forest(read_contest(contest(rival(), rival(ends=(0.5, 0.2, 0.9))))).neutral
    assert lost.low < lost.at < lost.high < neutral < won.low < won.at < won.high
    assert tied.low < neutral < tied.high


@pytest.mark.parametrize(
    ("result", "places"), [("win", (1.0, 1.0)), ("loss", (0.0, 0.0)), ("tie", (0.0, 1.0))]
)
def test_what_is_not_finite_on_disk_lies_beyond_the_end_that_the_result_names(result, places):
    _, bar = bars(contest(rival(), rival(result=result, ends=(None, None, None))))
    assert (bar.low, bar.high) == places
    assert "∞" in bar.told or bar.told == "not finite"


def test_ends_that_only_json_can_hold_break_nothing():
    for ends in ((1e-300, 1e-308, 1e308), (1e308, 1e300, 1.7e308)):
        for neutral in (0.0, 1.0):
            found = forest(read_contest(contest(rival(ends=ends), neutral=neutral)))
            places = [at for _, of in found.groups for b in of for at in (b.low, b.at, b.high)]
            assert all(math.isfinite(at) and 0 <= at <= 1 for at in places)


def test_a_page_opens_with_what_to_do_and_a_bar_for_each_rival(write_run, parse):
    both = contest(rival(), rival("Other", "neither", (1.1, 0.9, 1.2), "equal FLOPs"))
    html = render([write_run(verdict=verdict(contest=both))])
    page = parse(html)
    order = [html.index(text) for text in ("Take the DEQ.", "3 more would.", "It wins.", "Beaten.")]
    assert order == sorted(order)
    rows = [row for row in page.tables[0] if len(row) == 4]
    assert [row[2] for row in rows[1:]] == ["✓|DEQ better", "–|neither learns"]  # noqa: RUF001
    assert [row[3] for row in rows[1:]] == ["2 (1.50 to 4)", "1.10 (0.900 to 1.20)"]
    assert "75 % intervals over seeds, each by itself" in page.text


def test_a_run_that_judges_nothing_has_no_outcome_but_says_why(write_run, parse):
    why = "Not judged: one seed."
    html = render([write_run(verdict=verdict("not judged", (why, "Beaten.")))])
    assert ("p", why) in parse(html).texts
    assert "badge none" in html
    for other in ("good", "mixed", "bad"):
        assert f"badge {other}" not in html


def test_changed_settings_are_chips_and_the_claim_is_about_others(write_run, example, parse):
    config = example.config() | {"changed": {"width": 10, EVIL: [1] * 40}}
    config["config"] = {"width": 20, EVIL: EVIL}
    html = render([write_run(config=config)])
    page = parse(html)
    assert ("li", "width 20") in page.texts
    assert ("small", "not 10") in page.texts
    assert "The claim, which is about other settings" in page.text
    assert "<script" not in html
    assert "…" in page.text  # a long value is cut
    assert "other settings" not in render([write_run("plain", config=example.config())])


def test_names_of_rivals_are_escaped(write_run, parse):
    evil = contest(rival(EVIL, group=EVIL)) | {"unit": EVIL, "advice": EVIL, "seeds": EVIL}
    html = render([write_run(verdict=verdict(contest=evil))])
    assert "<script" not in html
    assert parse(html).text.count(EVIL) >= 5


@pytest.mark.parametrize(
    "damage",
    [{"rivals": 3}, {"neutral": "x"}, {"advice": None}, {"rivals": [{"label": "a"}]}],
)
def test_a_damaged_contest_is_one_sentence(write_run, damage):
    path = write_run(verdict=verdict(contest=contest() | damage))
    with pytest.raises(ReportError, match="has a contest that is none"):
        render([path])


def test_an_unknown_result_is_refused():
    with pytest.raises(ValueError, match="result is one of win, tie, loss, neither, not 'draw'"):
        read_contest(contest(rival(result="draw")))


def test_every_outcome_has_a_filter_that_hides_the_others(write_run, tmp_path, parse):
    for name, outcome in (("a", "holds"), ("b", "not judged"), ("c", "holds")):
        write_run(f"runs/{name}", verdict=verdict(outcome))
    html = render([tmp_path / "runs"])
    page = parse(html)
    radios = [f["id"] for tag, f in page.elements if f.get("type") == "radio"]
    rules = dict(re.findall(r'has\(#(show-\d):checked\) .*?not\(\[data-outcome="(.*?)"\]', html))
    assert [rules.get(id) for id in radios] == [None, "holds", "not judged"]
    # A row of the overview, an entry of the index and a folded run for each.
    assert page.attributes("data-outcome").count("holds") == 6


def test_runs_are_folded_and_lead_back(two_runs, parse):
    page = parse(render([two_runs]))
    folds = [f for tag, f in page.elements if tag == "details" and f.get("class") == "fold"]
    assert len(folds) == 2
    assert "#index" in page.attributes("href")
    assert "index" in page.attributes("id")


def test_a_setting_that_is_usually_nothing_and_a_sweep_say_no_usual_value(
    write_run, example, parse
):
    config = example.config() | {"changed": {"cell": None, "width": 4}, "sweep": "width"}
    config["config"] = {"cell": "mine:MyCell", "width": [5, 10, 20]}
    page = parse(render([write_run(config=config)]))
    assert ("li", "cell mine:MyCell") in page.texts
    assert ("li", "width 5, 10, 20") in page.texts
    assert not [text for tag, text in page.texts if tag == "small" and text.startswith("not ")]
    assert "The question" in page.text
    assert "other settings" not in page.text


def test_runs_of_one_title_say_in_what_they_differ(write_run, example, parse):
    def run(name, title="The same", preset="quick", **settings):
        told = {"title": title, "preset": preset, "config": settings}
        return write_run(name, config=example.config() | told)

    runs = [
        run("a", width=5, cell=None, steps=9),
        run("b", width=10, cell=None, steps=9),
        run("c", width=10, cell="mine:Cell", steps=9),
        run("d", preset="full", width=99, cell=None, steps=1000),
        run("e", title="Another", width=5, cell=None),
    ]
    told = [
        "The same, quick, width 5, cell none",
        "The same, quick, width 10, cell none",
        "The same, quick, width 10, cell mine:Cell",
        "The same, full",
        "Another",
    ]
    page = parse(render(runs))
    assert [text for tag, text in page.texts if tag == "h2"] == told
    assert [text for tag, text in page.texts if tag == "a" and text in told] == told


def test_a_rival_that_matches_in_nothing_has_a_heading_of_its_own():
    found = contest(rival("FNN"), rival("mine:net", group=""))
    headings = [heading for heading, _ in forest(read_contest(found)).groups]
    assert headings == ["At equal parameters", "At a cost of its own"]
    (alone,) = forest(read_contest(contest(rival("mine:net", group="")))).groups
    assert alone[0] == ""
