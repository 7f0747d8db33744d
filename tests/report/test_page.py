"""The page is valid, complete, offline, safe, accessible, and the same every time."""

import itertools
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from deqlab.report import render

EVIL = "<script>alert('$x_1$ & \"y\"')</script>"


@pytest.fixture(scope="module")
def both(two_runs):
    """Two runs; one has a chart of two panels."""
    return render([two_runs])


def test_tags_are_balanced_and_ids_unique(both, parse):
    page = parse(both)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert len([found for _, found in page.elements if found.get("role") == "img"]) == 5


def test_every_reference_resolves(both, parse):
    page = parse(both)
    targets = [id for v in page.attributes("aria-labelledby") for id in v.split()]
    for name in ("href", "clip-path", "xlink:href"):
        targets += [id for v in page.attributes(name) for id in re.findall(r"#([\w-]+)", v)]
        assert all("#" in value for value in page.attributes(name))
    assert targets
    assert set(targets) <= set(page.attributes("id"))


def test_the_page_loads_nothing(html):
    assert not re.search(r"https?:|//[a-z]|\ssrc=|<link|<script|@import|url\((?!#)", html)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html


def test_the_same_files_give_the_same_bytes(write_run):
    path = write_run()
    code = "import sys; from pathlib import Path; from deqlab.report import render\n"
    code += "sys.stdout.buffer.write(render([Path(sys.argv[1])]).encode())"
    # Another process has other hash seeds, and a time of its own.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, check=True
    )
    assert other.stdout.decode() == render([path]) == render([path])


def test_importing_the_report_imports_neither_torch_nor_matplotlib(write_run):
    code = (
        "import sys; from pathlib import Path; import deqlab.report as report\n"
        "heavy = lambda: {'torch', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy(), heavy()\n"
        "report.render([Path(sys.argv[1])])\n"
        "assert heavy() == {'matplotlib', 'jinja2'}, heavy()"
    )
    subprocess.run([sys.executable, "-c", code, str(write_run())], check=True)


def test_the_report_imports_nothing_of_ours_but_the_format_of_runs():
    package = Path(str(resources.files("deqlab.report")))
    imports = re.findall(
        r"^\s*(?:from|import) (deqlab[\w.]*|torch\w*)",
        "\n".join(path.read_text() for path in package.glob("*.py")),
        flags=re.MULTILINE,
    )
    assert imports
    allowed = ("deqlab.report", "deqlab.runs", "deqlab.version")
    assert all(name.startswith(allowed) for name in imports)


def evil_run(write_run, example):
    rows = example.rows()
    for row in rows:
        row["arm"] = EVIL + row["arm"]
        if row["kind"] == "summary":
            row |= {"label": EVIL + row["arm"], "note": EVIL}
            row["matching"] = row["matching"] and EVIL
    text = {"title": EVIL, "caption": EVIL, "x_label": EVIL, "y_label": EVIL, "by_label": EVIL}
    charts = [{**example.line, **text, "panel_by": "matching"}, {**example.scatter, **text}]
    table = {**example.table, **text}
    table["columns"] = [{**column, "label": EVIL} for column in table["columns"]]
    config = example.config(charts, [table])
    config |= {key: EVIL for key in ("title", "claim", "source", "preset", "experiment")}
    config["config"] = {EVIL: EVIL}
    verdict = {"outcome": "holds", "sentence": EVIL, "details": [EVIL]}
    session = {"command": EVIL, "python": EVIL, EVIL: EVIL}
    return write_run(rows=rows, config=config, verdict=verdict, session=session)


def test_text_of_a_run_is_escaped_everywhere(write_run, example, parse):
    html = render([evil_run(write_run, example)])
    page = parse(html)
    assert "<script" not in html
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count(EVIL) > 40


def test_a_dollar_in_a_label_is_a_dollar(write_run, example, parse):
    label = "cost in $ and 10^3 $"
    spec = {**example.line, "x_label": label}
    page = parse(render([write_run(config=example.config(charts=[spec]))]))
    assert ("text", label) in page.texts


@pytest.mark.parametrize("label", ["深い \U0001f642 équilibre", "\x00\x07 control", "\ud800 half"])
def test_any_text_can_be_a_label(write_run, example, parse, label):
    rows = example.rows()
    for row in rows:
        row["label"] = label
    spec = {**example.line, "x_label": label, "title": label}
    html = render([write_run(rows=rows, config=example.config(charts=[spec]))])
    parse(html)
    html.encode("utf-8")


def test_equal_labels_are_told_apart(write_run, example, parse):
    rows = example.rows()
    for row in rows:
        row["label"] = "Network"
    text = parse(render([write_run(rows=rows)])).text
    assert "Network (deq)" in text
    assert "Network (fnn)" in text


def test_a_picture_is_named_and_described(html, parse):
    page = parse(html)
    assert ("title", "Learning curve") in page.texts
    (description,) = [t for tag, t in page.texts if tag == "desc" and t.startswith("Lines")]
    assert "The deq: test loss 0.300 (0.167–1.33) at step 2" in description  # noqa: RUF001


def test_headings_descend_one_level_at_a_time(write_run, tmp_path, parse):
    write_run("runs/a")
    for paths in ([tmp_path / "runs"], [write_run("runs/b"), tmp_path / "runs" / "a"]):
        tags = [t for t, _ in parse(render(paths)).elements if re.fullmatch(r"h[1-6]", t)]
        levels = [int(tag[1]) for tag in tags]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_verdict_comes_before_the_charts_and_the_command_last(html):
    order = ["A claim.", "Holds", "The DEQ wins.", "By a lot.", "Learning curve"]
    places = [html.index(f">{text}<") for text in (*order, "Cost", "deqlab run images")]
    assert places == sorted(places)


def test_several_runs_start_with_an_overview_of_their_verdicts(write_run, tmp_path, parse):
    write_run("runs/a")
    write_run("runs/b", verdict=None)
    html = render([tmp_path / "runs"])
    overview = html[html.index("<nav") : html.index("</nav>")]
    assert "Holds" in overview
    assert "Unfinished" in overview
    assert 'href="#run-1"' in overview
    assert 'href="#run-2"' in overview


def test_scrollable_regions_can_be_reached_by_keyboard(html, parse):
    page = parse(html)
    regions = [
        f for _, f in page.elements if f.get("class") == "scroll" or f.get("role") == "region"
    ]
    assert len(regions) >= 4
    assert all(f.get("tabindex") == "0" and f.get("aria-label") for f in regions)
    assert ("html", {"lang": "en"}) in page.elements
    assert all(f.get("scope") in ("col", "row") for tag, f in page.elements if tag == "th")


def test_charts_take_all_colours_from_the_theme(html):
    svg = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "font-family" not in svg


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(html, theme):
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\n\s*\}", html, re.DOTALL)[:2]
    )
    colours = light if theme == "light" else dark
    assert light.keys() == dark.keys()
    for name in ("ink", "muted", "link"):
        for ground in ("page", "surface", "soft"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for tone in ("good", "mixed", "bad", "open", "none"):
        assert contrast(colours[tone], colours["surface"]) >= 4.5, tone
        assert contrast(colours["ink"], colours[f"{tone}-soft"]) >= 4.5, tone
    for i in range(9):  # graphics need 3
        assert contrast(colours[f"c{i}"], colours["surface"]) >= 3, i
