"""The table of claims: verdict, whose claim, what was measured, and one command for each run."""

import pytest

from deqlab.report import render

EVIL = "<img src=x onerror=alert('1')> & \"more\""
HEADS = ["Verdict", "Claim", "Measured here", "Command"]


@pytest.fixture
def claims(write_run, example, parse, tmp_path):
    """The rows of the table about one run, changed, beside another."""

    def claims(*, command="deqlab run images", name="images", verdict=None, **changes):
        config = example.config(charts=[], tables=[]) | {"experiment": name} | changes
        default = {"outcome": "holds partly", "sentence": "It wins twice.", "details": []}
        write_run(
            "runs/a",
            config={key: value for key, value in config.items() if value is not None},
            verdict=verdict or default,
            session={"command": command},
        )
        write_run("runs/b", verdict=None, config=example.config(charts=[], tables=[]))
        page = parse(render([tmp_path / "runs"]))
        assert page.tables[0][0] == HEADS
        # Each word of a command is an element, in which no line breaks.
        return [[*row[:3], row[3].replace("|", " ")] for row in page.tables[0][1:]], page

    return claims


def command_of(claims, command, **changes):
    rows, _ = claims(command=command, **changes)
    return rows[0][3]


def test_a_row_has_all_of_a_claim(claims):
    rows, page = claims(origin="derived")
    assert rows == [
        [
            "◐|Holds partly",
            "A title|A claim.|derived: A source",
            "It wins twice.",
            "deqlab run images --preset quick",
        ],
        [
            "…|Unfinished",
            "A title|A claim.|A source",
            "unfinished: 6 jobs done; run the same command again to finish it",
            "deqlab run images --preset quick",
        ],
    ]
    links = [
        found["href"] for tag, found in page.elements if tag == "a" and "#run" in found["href"]
    ]
    assert links[:2] == ["#run-1", "#run-2"]
    assert {"run-1", "run-2"} <= set(page.attributes("id"))
    assert "badge mixed" in page.attributes("class")


@pytest.mark.parametrize(
    ("outcome", "badge", "tone"),
    [
        ("holds", "✓|Holds", "good"),
        ("holds partly", "◐|Holds partly", "mixed"),
        ("does not hold here", "✕|Does not hold here", "bad"),
        ("undecided", "?|Undecided", "open"),
    ],
)
def test_every_verdict_has_its_badge(claims, outcome, badge, tone):
    rows, page = claims(verdict={"outcome": outcome, "sentence": "So.", "details": []})
    assert rows[0][0] == badge
    assert f"badge {tone}" in page.attributes("class")


@pytest.mark.parametrize(
    ("origin", "source", "told"),
    [
        ("published", "Wu (2024)", "|published: Wu (2024)"),
        (None, "Wu (2024)", "|Wu (2024)"),
        ("asked", "", "|asked"),
        (None, "", ""),
    ],
)
def test_whose_claim_it_is_is_told_as_far_as_it_is_known(claims, origin, source, told):
    rows, _ = claims(origin=origin, source=source)
    assert rows[0][1] == f"A title|A claim.{told}"


def test_verdicts_are_counted_in_the_order_from_good_to_open(write_run, parse, tmp_path):
    outcomes = ["undecided", "holds", "does not hold here", "holds"]
    for number, outcome in enumerate(outcomes):
        verdict = {"outcome": outcome, "sentence": "So.", "details": []}
        write_run(f"runs/{number}", verdict=verdict)
    write_run("runs/5", verdict=None)
    texts = [text for _, text in parse(render([tmp_path / "runs"])).texts]
    start = texts.index("All 5") + 1
    told = "|".join(texts[start:])
    assert told.startswith("✓|Holds 2|✕|Does not hold here 1|?|Undecided 1|…|Unfinished 1|")


def test_one_run_alone_has_no_table_of_claims(html):
    assert "Measured here" not in html


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("deqlab run claims", "deqlab run memory --preset quick"),
        ("deqlab run images memory --preset quick", "deqlab run memory --preset quick"),
        (
            "deqlab run claims --set width=3 --preset quick --set 'depths=1, 2' --seeds 8",
            "deqlab run memory --preset quick --set width=3 --set 'depths=1, 2' --seeds 8",
        ),
        (
            "deqlab run claims --set=width=3 --seeds=8 --jobs=2 --out=there",
            "deqlab run memory --preset quick --set width=3 --seeds 8",
        ),
        (
            "deqlab run --seeds 8 claims --jobs 2 --out there --backend dask --data-dir here",
            "deqlab run memory --preset quick --seeds 8",
        ),
        ("deqlab kernel x.npz --seeds 3", "deqlab kernel x.npz --seeds 3"),
        ("python train.py --set a=1", "python train.py --set a=1"),
        ("deqlab run claims --set 'width=3", "deqlab run claims --set 'width=3"),
        ("deqlab", "deqlab"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_command_is_that_of_this_run_alone(claims, recorded, shown):
    assert command_of(claims, recorded, name="memory") == shown


def test_the_preset_is_that_of_the_run(claims):
    assert command_of(claims, "deqlab run claims --preset quick", preset="full") == (
        "deqlab run images --preset full"
    )


def test_a_name_from_disk_is_quoted_in_the_command(claims):
    shown = command_of(claims, "deqlab run claims", name="a; rm b", preset="$(c)")
    assert shown == "deqlab run 'a; rm b' --preset '$(c)'"


def test_text_from_disk_is_escaped(claims):
    texts = dict.fromkeys(("title", "claim", "origin", "source"), EVIL)
    rows, page = claims(
        **texts,
        command=f"other {EVIL}",
        verdict={"outcome": "holds", "sentence": EVIL, "details": []},
    )
    assert rows[0][1:] == [f"{EVIL}|{EVIL}|{EVIL}: {EVIL}", EVIL, f"other {EVIL}"]
    assert "img" not in {tag for tag, _ in page.elements}
