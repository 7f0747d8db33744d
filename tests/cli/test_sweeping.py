"""A sweep: which runs it makes, and what they are together."""

import json
import re
from dataclasses import dataclass, replace

import pytest

from deqlab.cli.running import run_all
from deqlab.cli.sweeping import swept, write_sweep
from deqlab.experiments.base import Job, Verdict, cross
from deqlab.experiments.config import Config, UsageError
from deqlab.experiments.page import Page, table
from deqlab.experiments.sweep import Sweep
from deqlab.report.html import render
from tests.experiments.fake import EXPERIMENT


@dataclass(frozen=True, kw_only=True)
class Sizes(Config):
    size: int = 3
    rates: tuple[float, ...] = (0.1,)
    word: str = "a"
    flag: bool = False


def run(config, job):
    loss = config.size + job.seed + (0.5 if job.arm == "fnn" else 0.0)
    matching = None if job.arm == "deq" else "parameters"
    yield {
        "kind": "summary",
        "label": f"{job.arm.upper()}, size {config.size}" if job.arm == "deq" else f"{config.size}",
        "matching": matching,
        "test_loss": loss,
        "parameters": 10 * config.size,
        "seconds": 0.25,
        "size": "hidden",
        "lost": float("nan"),
    }


def judge(config, rows):
    outcome = "holds" if config.size > 3 else "undecided"
    return Verdict(outcome=outcome, sentence=f"{len(rows)} rows.")


SIZES = replace(
    EXPERIMENT,
    name="sizes",
    presets={"quick": Sizes()},
    plan=cross(("deq", "fnn")),
    run=run,
    judge=judge,
    page=Page(tables=(table("summary", "parameters", "test_loss", title="t", caption="c"),)),
)


def sweep(tmp_path, text, **differs):
    options = {
        "named": ["sizes"],
        "preset": "quick",
        "settings": None,
        "seeds": None,
        "out": tmp_path,
        "jobs": 1,
        "backend": "loky",
        **differs,
    }
    run_all([SIZES], sweeps=[text], **options)
    return tmp_path / f"sizes-by-{text.partition('=')[0]}"


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("size=5, 10,20", "size", {"size=5": 5, "size=10": 10, "size=20": 20}),
        ("rates=.1,1e-2", "rates", {"rates=0.1": (0.1,), "rates=0.01": (0.01,)}),
        ("rates=.1,.2;.3", "rates", {"rates=0.1,0.2": (0.1, 0.2), "rates=0.3": (0.3,)}),
        ("word=a/b,c", "word", {"word=a%2Fb": "a/b", "word=c": "c"}),
        ("word=max(a, b);..", "word", {"word=max(a, b)": "max(a, b)", "word=..": ".."}),
        ("flag=true,false", "flag", {"flag=True": True, "flag=False": False}),
    ],
)
def test_a_sweep_has_a_folder_for_each_value(text, field, found):
    name, configs = swept(Sizes(word="z"), [text], ["other=1"])
    assert name == field
    assert {folder: getattr(config, field) for folder, config in configs.items()} == found
    for config in configs.values():
        assert replace(config, **{field: getattr(Sizes(word="z"), field)}) == Sizes(word="z")


def test_a_value_is_the_same_however_it_is_written():
    with pytest.raises(UsageError, match=r"--sweep rates has the value 0\.10 twice"):
        swept(Sizes(), ["rates=0.1,0.10"], [])


def test_a_sweep_is_a_run_with_one_chart_over_the_field(tmp_path):
    folder = sweep(tmp_path, "size=5,10,20")
    assert {p.name for p in folder.iterdir() if p.is_dir()} == {"size=5", "size=10", "size=20"}
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    points = [row for row in rows if row["kind"] == "point"]
    assert [(p["arm"], p["seed"], p["size"], p["test_loss"]) for p in points] == [
        (arm, seed, size, size + seed + (0.5 if arm == "fnn" else 0.0))
        for arm in ("deq", "fnn")
        for seed in (0, 1, 2)
        for size in (5, 10, 20)
    ]
    labels = {row["label"] for row in rows if row["kind"] == "summary"}
    assert labels == {"DEQ", "fnn"}  # without what differs from value to value
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["size"] == [5, 10, 20]
    (chart,) = config["report"]["charts"]
    assert (chart["x"], chart["y"], chart["panel_by"]) == ("size", "test_loss", "matching")
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["outcome"] == "not judged"
    assert verdict["sentence"] == "By size: not judged at 5, not judged at 10, not judged at 20."
    assert config["changed"] == {"size": 3}


@pytest.mark.slow
def test_a_report_draws_one_chart_of_a_sweep_before_its_runs(tmp_path, monkeypatch):
    words = ["deqlab", "run", "sizes", "--sweep", "size=5,10,20", "--seeds=3", "--jobs", "2"]
    monkeypatch.setattr("sys.argv", words)
    sweep(tmp_path, "size=5,10,20")
    page = render([tmp_path])
    spoken = re.sub(r"</?span>", "", page)
    for part in ("--sweep size=5,10,20", "--set size=5", "--set size=10", "--set size=20"):
        assert spoken.count(f"deqlab run sizes --preset quick {part} --seeds 3 <") == 1
    assert len(re.findall(r"<h4[^>]*>Test loss against size", page)) == 1
    titles = re.findall(r'<h2 class="run-title"[^>]*>([^<]*)', page)
    assert titles == ["Fake: a sweep over size", *(f"Fake, size {n}" for n in (5, 10, 20))]
    words = sweep(tmp_path / "words", "word=a,b")
    assert "Test loss against parameters, by word" in render([words])


def test_a_sweep_goes_on_with_more_values_and_more_seeds(tmp_path):
    whole = sweep(tmp_path / "whole", "size=2,4,6", seeds=4)
    sweep(tmp_path / "cut", "size=2,4", seeds=2)
    cut = sweep(tmp_path / "cut", "size=2,4,6", seeds=4)
    for name in ("config.json", "rows.jsonl", "verdict.json"):
        for folder in ("", "size=2", "size=4", "size=6"):
            assert (cut / folder / name).read_text() == (whole / folder / name).read_text()
    # It ran in two sittings.
    sessions = json.loads((cut / "environment.json").read_text())["sessions"]
    assert 1 <= len(sessions) <= 2


def test_what_is_there_of_a_sweep_that_stopped_is_drawn(tmp_path):
    folder = sweep(tmp_path, "size=4,5")
    (folder / "size=5" / "verdict.json").unlink()
    write_sweep(SIZES, "size", {folder / f"size={n}": Sizes(size=n) for n in (4, 5)}, "quick")
    assert not (folder / "verdict.json").exists()
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 6 * 3


def test_words_are_told_apart_in_panels(tmp_path):
    folder = sweep(tmp_path, "word=a,b")
    (chart,) = json.loads((folder / "config.json").read_text())["report"]["charts"]
    assert (chart["kind"], chart["x"], chart["panel_by"]) == ("scatter", "parameters", "word")


def test_an_axis_is_logarithmic_where_values_are_wide_apart():
    def scale(*sizes):
        configs = [Sizes(size=size) for size in sizes]
        rows = [
            [{"arm": "deq", "seed": 0, **row} for row in run(c, Job(arm="deq", seed=0))]
            for c in configs
        ]
        made = Sweep(experiment=SIZES, field="size", configs=configs, rows=rows)
        return made.describe("quick")["report"]["charts"][0]["x_scale"]

    assert scale(1, 2, 9) == "linear"
    assert scale(1, 5, 10) == "log"
    assert scale(0, 5, 10) == "linear"


def test_a_folder_of_another_sweep_is_refused(tmp_path):
    folder = sweep(tmp_path, "size=4")
    (folder / "config.json").write_text(json.dumps({"sweep": "word"}))
    with pytest.raises(ValueError, match="holds a sweep over word, not size"):
        sweep(tmp_path, "size=4")
