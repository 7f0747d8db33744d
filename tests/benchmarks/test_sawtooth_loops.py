"""The docs say of loops and DEQs what the committed run of `sawtooth-loops` says."""

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks import claims
from benchmarks.tables import markdown
from deqlab.experiments import EXPERIMENTS
from deqlab.report.rows import read_run
from deqlab.runs import rundir

PAGE = Path(__file__).parents[2] / "docs" / "when-is-a-deq-worth-it.md"


def test_the_run_is_whole_and_its_verdict_is_what_the_code_says_of_its_rows():
    run, experiment = read_run(claims.LOOPS), EXPERIMENTS["sawtooth-loops"]
    config = experiment.presets[run.config["preset"]]
    rundir.check(claims.LOOPS, experiment.describe(config, run.config["preset"]))
    assert not run.ignored
    jobs = [(job.arm, job.seed) for job in run.jobs]
    assert jobs == [(job.arm, job.seed) for job in experiment.plan(config, [])]
    lines = (claims.LOOPS / "rows.jsonl").read_text("utf-8").splitlines()
    verdict = json.loads((claims.LOOPS / "verdict.json").read_text("utf-8"))
    found = experiment.judge(config, [json.loads(line) for line in lines])
    assert json.loads(json.dumps(asdict(found))) == verdict


def test_the_page_has_its_table_and_its_verdict():
    run, page = read_run(claims.LOOPS), PAGE.read_text(encoding="utf-8")
    assert f"\n\n{markdown(claims.loops_table(run))}\n\n" in page
    assert run.verdict is not None
    assert f"`deqlab run sawtooth-loops --preset {run.config['preset']}`" in page
    assert f"**{run.verdict.outcome}**" in page
