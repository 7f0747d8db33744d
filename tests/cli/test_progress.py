"""What a sitting tells: readable at 80 columns, on a terminal and in a file."""

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from deqlab.cli import progress
from deqlab.cli.progress import Display, called, in_words
from deqlab.experiments import base
from deqlab.experiments.base import Job
from deqlab.experiments.runner import Part
from deqlab.recipes import RECIPES
from deqlab.runs.progress import SECONDS, listening, teller
from deqlab.runs.rundir import RunDirectory
from tests.experiments.fake import EXPERIMENT, FakeConfig

LATER = replace(EXPERIMENT, later=lambda config, rows: 0 if rows else len(config.seeds))
JOB = Job(arm="first", seed=0)


@pytest.fixture
def part(tmp_path):
    run = RunDirectory.open(tmp_path / "size=3", LATER.describe(FakeConfig(), "quick"))
    yield Part(experiment=LATER, config=FakeConfig(), run=run)
    run.close()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def display(part, *, terminal, parts=1):
    console = Console(
        file=io.StringIO(), width=80, force_terminal=terminal, legacy_windows=False, _environ={}
    )
    return Display([part] * parts, console)


def picture(shown):
    """The lines that a terminal shows now."""
    console = Console(file=io.StringIO(), width=80)
    console.print(shown._picture())
    return console.file.getvalue().splitlines()


def step(number, of=100):
    row = {"step": number, "test_loss": 0.123456, "train_loss": 1.5, "converged": 1.0}
    return base.progress(row, num_steps=of)


def test_a_terminal_shows_the_step_the_planned_total_and_the_time_left(part, clock):
    shown = display(part, terminal=True)
    assert "0/6 jobs" in picture(shown)[0]  # three of the second wave
    clock[0] += 30
    shown._tell(part, JOB, step(50))
    head, line = picture(shown)
    # Half a job took 30 s, and five and a half are left.
    assert "fake" in head
    assert "30 s, about 6 min left" in head
    assert line.strip() == "first, seed 0, step 50 of 100, test_loss 0.1235, converged 1"
    part.run.append(JOB, [{"kind": "summary", "label": "first", "seconds": 30.0}])
    shown._tell(part, JOB, None)
    assert len(picture(shown)) == 1
    assert "1/6 jobs" in picture(shown)[0]
    shown._tell(part, JOB, step(60))  # told late, by a thread that listens
    assert len(picture(shown)) == 1
    for seed in (1, 2):
        job = Job(arm="first", seed=seed)
        part.run.append(job, [{"kind": "summary", "label": "first"}])
        shown._tell(part, job, None)
    assert "3/6 jobs" in picture(shown)[0]  # the second wave, now planned


def test_no_line_is_longer_than_the_terminal(part, clock):
    shown = display(part, terminal=True, parts=2)
    for seed in range(20):
        shown._tell(part, Job(arm="an arm with a very long name " * 3, seed=seed), step(7, 10**6))
    lines = picture(shown)
    assert len(lines) == 1 + progress.LINES
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("  size=3, an arm with")


def test_a_file_gets_a_line_now_and_then(part, clock):
    shown = display(part, terminal=False)
    for seconds in range(130):
        clock[0] += 1
        shown._tell(part, JOB, step(seconds))
    told = shown.console.file.getvalue().splitlines()
    assert len(told) == 2  # one a minute
    assert told[0].startswith("fake 0/6: first, seed 0, step 60 of 100, test_loss 0.1235")
    assert told[0].endswith("left")
    part.run.append(JOB, [{"kind": "summary", "label": "first", "seconds": 130.0}])
    shown._tell(part, JOB, None)
    last = shown.console.file.getvalue().splitlines()[-1]
    assert last == "fake 1/6: first, seed 0, 2 min of training; about 11 min left"


def test_a_lost_worker_is_told(part):
    shown = display(part, terminal=False)

    def work(on_progress, on_loss):
        on_loss("a worker was killed")
        return "done"

    assert shown.run(work) == "done"
    assert "fake a worker was killed" in shown.console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.0, "99 s"),
        (100.0, "2 min"),
        (3570.0, "1 h 0 min"),
        (7500.0, "2 h 5 min"),
    ],
)
def test_a_time_is_told_in_the_units_of_a_person(seconds, words):
    assert in_words(seconds) == words


def test_rows_go_from_a_worker_to_who_listens(tmp_path):
    told = []
    (tmp_path / "a").mkdir()
    teller(tmp_path / "a")({"step": 0, "of": "an earlier sitting"})
    with listening([tmp_path / "a", None, tmp_path / "b"], lambda n, row: told.append((n, row))):
        tell = teller(tmp_path / "b")
        tell({"step": 1, "pixels": [[0.5]]})
        tell({"step": 2})  # too early to be told
        deadline = time.monotonic() + 60
        while not told and time.monotonic() < deadline:
            time.sleep(SECONDS / 10)
    assert told == [(2, {"step": 1})]
    teller(None)({"step": 3})


def test_all_jobs_of_a_recipe_are_counted_before_its_costs_are_known():
    recipe = RECIPES["conv-fashion"]
    config = recipe.presets["smoke"]
    planned = len(recipe.plan(config, []))
    rows = [
        {"arm": "deq", "seed": seed, "kind": "summary", "flops_per_step": 10**9}
        for seed in config.seeds
    ]
    assert planned + recipe.later(config, []) == len(recipe.plan(config, rows)) > planned
    assert recipe.later(config, rows) == 0


def test_a_network_of_the_users_is_called_by_its_label(part, clock):
    shown = display(part, terminal=True)
    own = Job(arm="own", seed=0, settings={"label": "mine:net"})
    shown._tell(part, own, step(3))
    assert "mine:net, seed 0, step 3" in picture(shown)[1]
    assert called(JOB) == "first"
