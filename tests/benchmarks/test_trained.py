"""The docs and the weights in the package are those of the committed runs."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import trained as tables
from benchmarks.tables import markdown
from deqlab.experiments import EXPERIMENTS
from deqlab.recipes import RECIPES, card, trained, trained_names
from deqlab.recipes.trained import BUNDLED
from deqlab.report.rows import read_run
from deqlab.runs import rundir
from deqlab.tasks.files.errors import DataError

DOCS = Path(__file__).parents[2] / "docs"

GROUPS = [group for group in tables.GROUPS if tables.models(group)]

EXPERIMENT = {tables.STABILISERS: EXPERIMENTS["stabilisers"]} | {
    folder: RECIPES[folder.name] for folder in sorted(tables.MODELS.iterdir())
}


@pytest.mark.parametrize("folder", EXPERIMENT, ids=lambda folder: folder.name)
def test_a_run_is_whole_and_its_verdict_is_what_the_code_says_of_its_rows(folder):
    experiment, run = EXPERIMENT[folder], read_run(folder)
    config = experiment.presets["full"]
    rundir.check(folder, experiment.describe(config, "full"))
    assert not run.ignored
    assert {job.seed for job in run.jobs} == {0, 1, 2}
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]
    done = {(row["arm"], row["seed"]) for row in rows if row["kind"] == "summary"}
    assert {(job.arm, job.seed) for job in experiment.plan(config, rows)} == done
    verdict = json.loads((folder / "verdict.json").read_text("utf-8"))
    assert json.loads(json.dumps(asdict(experiment.judge(config, rows)))) == verdict


def test_the_page_has_the_table_of_stabilisers():
    table = markdown(tables.stabilisers_table(read_run(tables.STABILISERS)))
    assert f"\n\n{table}\n\n" in page("training.md")


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_of_a_group_has_the_table_of_its_recipes(group):
    name, _ = tables.GROUPS[group]
    assert f"\n\n{markdown(tables.models_table(group))}\n\n" in page(name)


def test_every_group_of_recipes_has_its_page():
    assert {name for group in tables.GROUPS for name in tables.named(group)} == set(RECIPES)


def test_pages_have_what_is_known_beside():
    sudoku, prefix_sums = tables.models("reasoning")
    feedback = tables.feedback_table(tables.models("images"))
    assert f"\n\n{markdown(feedback)}\n\n" in page("training.md")
    for table in (tables.at_depths_table(sudoku), tables.sizes_table(prefix_sums)):
        assert f"\n\n{markdown(table)}\n\n" in page("sequences.md")


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def of_kind(run, seed, kind):
    (job,) = [job for job in run.jobs if (job.arm, job.seed) == ("deq", seed)]
    return [row for row in job.rows if row["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("name", trained_names())
def test_a_trained_network_does_what_its_card_says(name):
    said = card(name)
    recipe = RECIPES[name]
    try:
        task = recipe.task(recipe.presets["full"])
    except DataError as error:
        pytest.skip(str(error))
    found = task.tested(trained(name))
    # Another processor rounds otherwise: a few of thousands of images.
    assert found["test_accuracy"] == pytest.approx(said.test_accuracy, abs=1e-3)
    assert found["converged"] >= 0.99
    assert found["test_evaluations"] == pytest.approx(said.evaluations, rel=0.05)


@pytest.mark.parametrize("name", trained_names())
def test_the_weights_in_the_package_are_small_and_of_the_median_seed(name):
    run = read_run(tables.MODELS / name)
    path, seed = BUNDLED / f"{name}.safetensors", tables.median_seed(run)
    assert path.stat().st_size <= 1_000_000
    (row,) = [row for row in tables.summaries(run)["deq"] if row["seed"] == seed]
    said = card(name)
    assert (said.recipe, said.seed, said.parameters) == (name, seed, row["parameters"])
    assert (said.test_accuracy, said.converged) == (row["test_accuracy"], row["converged"])
    (proved,) = [r for r in of_kind(run, seed, "certificate") if r["when"] == "after training"]
    assert said.proved == (f"{proved['proved']}: {proved['theorem']}",)
    assert said.command == f"deqlab train {name} --preset full --seeds 3"
