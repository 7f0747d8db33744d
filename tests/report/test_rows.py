"""What a run directory may look like, and what is refused with a clear sentence."""

import json

import pytest

from deqlab.report import ReportError, render
from deqlab.report.rows import find_runs, read_run


def lines(rows):
    return [json.dumps(row) for row in rows]


def test_folders_of_runs_are_searched(write_run, tmp_path):
    second, first = write_run("runs/b"), write_run("runs/a")
    deeper = write_run("runs/deeper/still/c")
    (tmp_path / "runs" / "notes").mkdir()
    for hidden in ("runs/.git/d", "runs/a/unfinished/e", "runs/a/results/f", "runs/1/2/3/4/5"):
        write_run(hidden)
    found = find_runs([tmp_path / "runs", first])
    assert sorted(found) == sorted([first, second, deeper])
    assert find_runs([tmp_path / "runs" / "deeper"]) == [deeper]


def test_a_sweep_comes_before_its_runs_and_these_by_their_numbers(write_run, tmp_path):
    names = ["x=0.5", "x=2", "x=10", "x=1e3"]
    sweep = write_run("runs/sweep")
    runs = {name: write_run(f"runs/sweep/{name}") for name in reversed(names)}
    assert find_runs([tmp_path / "runs"]) == [sweep, *(runs[name] for name in names)]


def test_runs_of_a_directory_come_in_the_order_in_which_they_were_begun(write_run, tmp_path):
    sessions = {"k1": "2026-11-21T09:00", "k10": "2026-11-21T11:00", "k3": "2026-11-21T10:00"}
    runs = {
        name: write_run(f"runs/{name}", session={"started": started})
        for name, started in sessions.items()
    }
    assert find_runs([tmp_path / "runs"]) == [runs["k1"], runs["k3"], runs["k10"]]
    undated = write_run("runs/k9", session=None)
    assert find_runs([tmp_path / "runs"])[0] == undated
    assert find_runs([runs["k10"], tmp_path / "runs"])[0] == runs["k10"]


def test_nothing_given_is_an_error():
    with pytest.raises(ReportError, match="no run directory given"):
        render([])


def test_a_directory_without_runs_is_an_error(tmp_path):
    with pytest.raises(ReportError, match=r"no run directory in .*deqlab run"):
        render([tmp_path])


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(ReportError, match=r"nowhere is not a directory"):
        render([tmp_path / "nowhere"])


def test_a_missing_config_is_an_error(write_run):
    with pytest.raises(ReportError, match=r"config\.json is missing"):
        render([write_run(config=None)])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"config\.json is not valid JSON"),
        ("[]", r"config\.json must hold a JSON object, not a list"),
        ('{"format": 2}', r"config\.json has format 2, and this deqlab reads format 1"),
        ("{}", r"config\.json has format None"),
        ('{"format": 1, "experiment": "images"}', r"config\.json needs a text 'title'"),
    ],
)
def test_an_invalid_config_is_an_error(write_run, config, message):
    with pytest.raises(ReportError, match=message):
        render([write_run(config=config)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ('{"arm": "de', r"rows\.jsonl, line 2 is damaged: not valid JSON"),
        ("[1]", r"rows\.jsonl, line 2 is damaged: a row is a JSON object, not a list"),
        ('{"arm": "deq", "seed": 0}', r"line 2 is damaged: 'kind' must be of type str, got None"),
        ('{"arm": "deq", "seed": "0", "kind": "step"}', r"line 2 is damaged: 'seed' must be"),
    ],
)
def test_damage_in_the_middle_is_an_error(write_run, example, damage, message):
    text = lines(example.rows())
    text[1] = damage
    with pytest.raises(ReportError, match=message):
        render([write_run(rows="\n".join(text))])


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_half_written_last_line_is_ignored_and_reported(write_run, example, parse, end):
    text = lines(example.rows())
    path = write_run(rows="\n".join([*text, '{"arm": "deq", "se']) + end)
    assert len(read_run(path).jobs) == 6
    sentence = f"The last line of rows.jsonl (line {len(text) + 1}) is half-written"
    assert sentence in parse(render([path])).text


def test_a_last_line_that_only_lacks_its_newline_counts(write_run, example):
    run = read_run(write_run(rows="\n".join(lines(example.rows()))))
    assert len(run.jobs) == 6
    assert run.ignored == ()


def test_a_job_without_summary_does_not_count(write_run, example, parse):
    path = write_run(rows=example.rows()[:-1], verdict=None)
    assert [(job.arm, job.seed) for job in read_run(path).jobs][-1] == ("fnn", 1)
    text = parse(render([path])).text
    assert "3 rows of interrupted jobs" in text
    assert "fnn with seed 2" in text
    assert "unfinished: 5 jobs done; run the same command again to finish it" in text
    # (0.7 + 0.75) / 2, not the median of three.
    assert "0.7250" in text


def test_a_run_that_names_no_source_is_rendered(write_run, example, parse):
    config = {name: value for name, value in example.config().items() if name != "source"}
    text = parse(render([write_run(config=config)])).text
    assert "The DEQ wins." in text
    assert "Source:" not in text


def test_a_run_that_has_just_started_is_rendered(write_run, parse):
    text = parse(render([write_run(rows=None, verdict=None, session=None)])).text
    assert "unfinished: 0 jobs done" in text
    assert "unknown" in text


@pytest.mark.parametrize(
    ("chart", "message"),
    [
        (
            {"kind": "pie"},
            r"config\.json: chart 'Learning curve' has kind 'pie'.*line, scatter, heatmap, images",
        ),
        ({"y_scale": "symlog"}, "has y_scale 'symlog', which is none of linear, log"),
        ({"y_format": "roman"}, "y_format has format 'roman'"),
        ({"x": None}, "needs a text 'x'"),
        ({"panel_by": ["a"]}, "needs a text or null 'panel_by'"),
    ],
)
def test_an_unknown_chart_is_an_error(write_run, example, chart, message):
    config = example.config(charts=[{**example.line, **chart}])
    with pytest.raises(ReportError, match=message):
        render([write_run(config=config)])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"columns": [{"field": "flops", "format": "roman"}]}, "has format 'roman'.*percent, si"),
        ({"columns": [{"field": "flops", "better": "up"}]}, "has better 'up'"),
        ({"columns": [{"label": "x"}]}, "a column without a text 'field'"),
        ({"columns": []}, "needs a list of 'columns'"),
        ({"by": None}, "needs a text 'by'"),
    ],
)
def test_an_unknown_table_is_an_error(write_run, example, table, message):
    config = example.config(tables=[{**example.table, **table}])
    with pytest.raises(ReportError, match=message):
        render([write_run(config=config)])


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        ({"outcome": "perhaps"}, r"verdict\.json has outcome 'perhaps', which is none of holds"),
        ({"outcome": "holds"}, r"verdict\.json needs a text 'sentence'"),
        ("{", r"verdict\.json is not valid JSON"),
    ],
)
def test_an_invalid_verdict_is_an_error(write_run, verdict, message):
    with pytest.raises(ReportError, match=message):
        render([write_run(verdict=verdict)])


def test_lists_of_the_report_must_be_lists_of_objects(write_run, example):
    with pytest.raises(ReportError, match=r"report\.charts must be a list"):
        render([write_run(config=example.config(charts=["line"]))])


def test_a_run_without_environment_says_unknown(write_run, parse):
    page = parse(render([write_run(session=None)]))
    assert ["torch", "unknown"] in page.tables[-1]
