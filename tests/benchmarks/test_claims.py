"""The docs say what the committed runs of all claims say."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.tables import markdown
from deqlab.experiments import EXPERIMENTS, GROUPS
from deqlab.report.rows import Job, Run, read_run
from deqlab.runs import rundir

PAGE = Path(__file__).parents[2] / "docs" / "when-is-a-deq-worth-it.md"


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return claims.read()


def test_every_claim_was_tried_to_the_end_with_eight_seeds(runs):
    assert [run.config["experiment"] for run in runs] == list(GROUPS["claims"])
    for run in runs:
        assert run.config["preset"] == "full"
        assert run.verdict is not None
        assert not run.ignored
        assert len({job.seed for job in run.jobs}) >= 8


@pytest.mark.parametrize("name", GROUPS["claims"])
def test_the_verdict_is_what_the_code_says_of_the_rows(name):
    experiment, folder = EXPERIMENTS[name], claims.CLAIMS / name
    config = experiment.presets["full"]
    rundir.check(folder, experiment.describe(config, "full"))
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]
    verdict = json.loads((folder / "verdict.json").read_text("utf-8"))
    assert json.loads(json.dumps(asdict(experiment.judge(config, rows)))) == verdict


def test_the_page_has_the_table_of_the_runs(runs):
    table = markdown(claims.claims_table(runs))
    assert f"{claims.tally(runs)}\n\n{table}\n" in PAGE.read_text(encoding="utf-8")


def test_the_page_has_the_errors_on_the_unseen(runs):
    gotu = [run for run in runs if run.config["experiment"] in claims.UNSEEN]
    table = claims.unseen_table(gotu)
    assert [line[1] for line in table[1:]] == ["4.8", "1.0", "15.0", "1.0", "8.2"]  # by hand
    assert markdown(table) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("problem", claims.OPEN)
def test_the_page_has_every_route_to_the_open_problems(problem):
    run = read_run(claims.OPEN[problem])
    assert len({job.seed for job in run.jobs}) >= 8
    routes = claims.routes(run)
    assert routes.count("- Route ") == len(run.config["config"]["routes"])
    assert f"**{problem}:**\n\n{routes}\n" in PAGE.read_text(encoding="utf-8")


def test_the_pictures_show_the_runs(runs, tmp_path, monkeypatch):
    shown = claims.figures.FIGURES
    monkeypatch.setattr(claims.figures, "FIGURES", tmp_path)
    claims.draw(runs)
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {"claims.svg", "norms.svg"}
    for name in files:
        assert coordinates(tmp_path / name) == coordinates(shown / name)


def coordinates(svg: Path) -> list[float]:
    """All numbers of the paths, rounded as the fonts of machines may differ."""
    paths = re.findall(r' d="([^"]*)"', svg.read_text(encoding="utf-8"))
    return [round(float(number)) for path in paths for number in re.findall(r"-?[\d.]+", path)]


def test_no_deq_off_its_equilibrium_is_on_the_page(runs):
    for run in filter(claims.is_comparison, runs):
        shares = [job.summary["converged"] for job in run.jobs if job.arm == "deq"]
        assert min(shares) > 0.99


def test_gains_are_ratios_of_losses_paired_by_seed_in_any_order():
    jobs = [
        ("fnn", 1, 6.0, "parameters"),
        ("deq", 0, 1.0, None),
        ("wide", 1, 3.0, "FLOPs per step"),
        ("fnn", 0, 2.0, "parameters"),
        ("deq", 1, 3.0, None),
        ("wide", 0, 1.0, "FLOPs per step"),
    ]
    run = Run(
        name="run",
        config={},
        sessions=(),
        jobs=tuple(
            Job(arm=arm, seed=seed, rows=(), summary={"test_loss": loss, "matching": matching})
            for arm, seed, loss, matching in jobs
        ),
        verdict=None,
        ignored=(),
    )
    assert claims.is_comparison(run)
    (first, narrow), (second, wide) = claims.gains(run)
    assert (first, second) == ("parameters", "FLOPs per step")
    assert math.exp(narrow.estimate) == pytest.approx(2)
    assert (wide.low, wide.estimate, wide.high) == (0, 0, 0)
