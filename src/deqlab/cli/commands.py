"""The commands that run, train and show: each parses what it is given and calls one function.

Everything heavy is imported inside the commands, so that `--help` answers at once and `report`
never imports torch.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deqlab.cli import early
from deqlab.cli import names as known
from deqlab.cli.app import (
    Backend,
    DataDir,
    Jobs,
    Out,
    PresetOfExperiments,
    PresetOfRecipes,
    Seeds,
    Settings,
    Sweep,
    app,
    use_data_dir,
)


@app.command("list")
def list_experiments(
    name: Annotated[
        str | None,
        typer.Argument(
            help="An experiment, a group or a recipe, or MODULE:NAME of your own: its claim, its "
            "fields, what they mean, its presets.",
            autocompletion=known.completed(known.RUN, known.GROUPS, known.TRAIN),
        ),
    ] = None,
) -> None:
    """List the experiments, or say what one of them, or a recipe, claims and takes."""
    if name is not None:
        early.check_either(name)
    from deqlab.cli.chosen import chosen_of, every
    from deqlab.cli.listing import show_all, show_one
    from deqlab.experiments import EXPERIMENTS, GROUPS, REGISTRY

    if name is None:
        show_all(every(REGISTRY), what="experiment", command="deqlab run")
        print("deqlab train lists the recipes, which train a DEQ beside its explicit twins.")
        return
    if name in GROUPS:
        members = [EXPERIMENTS[member] for member in GROUPS[name]]
        show_all(members, what="experiment", command="deqlab run")
        print(f"deqlab run {name} runs them all.")
        return
    from deqlab.recipes.base import Recipe
    from deqlab.recipes.registry import REGISTRY as RECIPES

    is_recipe = name in RECIPES.names()
    (one,) = chosen_of([name], RECIPES) if is_recipe else chosen_of([name], REGISTRY)
    show_one(one, "deqlab train" if isinstance(one, Recipe) else "deqlab run")


@app.command()
def run(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Experiments, see `deqlab list`, or MODULE:NAME of your own; claims stands for "
            "all about what DEQs represent and learn.",
            autocompletion=known.completed(known.RUN, known.GROUPS),
        ),
    ],
    preset: PresetOfExperiments = "quick",
    settings: Settings = None,
    sweep: Sweep = None,
    seeds: Seeds = None,
    out: Out = Path("runs"),
    jobs: Jobs = 1,
    backend: Backend = "loky",
    data_dir: DataDir = None,
) -> None:
    """Run experiments; one that was interrupted goes on where it stopped."""
    early.check(early.TO_RUN, names, preset)
    from deqlab.cli.chosen import chosen_of
    from deqlab.cli.running import run_all
    from deqlab.experiments import REGISTRY

    use_data_dir(data_dir)
    chosen = chosen_of(_members(names), REGISTRY)
    run_all(
        chosen,
        named=[*names, *(each.name for each in chosen if each.module)],
        preset=preset,
        settings=settings,
        sweeps=sweep,
        seeds=seeds,
        out=out,
        jobs=jobs,
        backend=backend,
    )


def _members(names: list[str]) -> list[str]:
    """Return the experiments of these names, those of a group in its place, each once."""
    from deqlab.cli.overrides import one_of
    from deqlab.experiments import GROUPS, REGISTRY

    every = [*REGISTRY.names(), *GROUPS]
    known = [name if ":" in name else one_of(name, every, what="experiment") for name in names]
    return list(dict.fromkeys(each for name in known for each in GROUPS.get(name, (name,))))


@app.command()
def train(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Recipes, or MODULE:NAME of your own; without any they are listed.",
            autocompletion=known.completed(known.TRAIN),
        ),
    ] = None,
    preset: PresetOfRecipes = "quick",
    settings: Settings = None,
    sweep: Sweep = None,
    seeds: Seeds = None,
    out: Out = Path("runs"),
    jobs: Jobs = 1,
    backend: Backend = "loky",
    data_dir: DataDir = None,
) -> None:
    """Train a DEQ by a recipe, beside its explicit twins; exit code 3 if it ends as none.

    A network whose solves no longer converge is no DEQ: the verdict says so, and so does the exit
    code. A run that was interrupted goes on where it stopped.
    """
    early.check(early.TO_TRAIN, names or (), preset)
    from deqlab.cli.chosen import chosen_of, every
    from deqlab.cli.listing import show_all
    from deqlab.cli.running import run_all
    from deqlab.experiments.comparing.evidence import WELL_SOLVED
    from deqlab.recipes.registry import REGISTRY

    if not names:
        recipes = every(REGISTRY)
        show_all(recipes, what="recipe", command="deqlab train")
        return
    use_data_dir(data_dir)
    chosen = chosen_of(names, REGISTRY)
    left = run_all(
        chosen,
        named=[each.name for each in chosen],
        preset=preset,
        settings=settings,
        sweeps=sweep,
        seeds=seeds,
        out=out,
        jobs=jobs,
        backend=backend,
    )
    if left:
        print(
            f"deqlab: {', '.join(left)}: fewer than {WELL_SOLVED:.0%} of the test samples are at "
            "their equilibrium, so this is no DEQ; `deqlab report` shows where it left it",
            file=sys.stderr,
        )
        raise typer.Exit(3)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file, or the folder of figures, to write; default: report.html, or figures, "
            "in the first run."
        ),
    ] = None,
    format: Annotated[
        str, typer.Option(help="html, a page; svg, pdf or csv: figures with captions for a paper.")
    ] = "html",
) -> None:
    """Write one self-contained HTML page about runs, or their figures one by one."""
    from deqlab.report.export import export
    from deqlab.report.html import render
    from deqlab.report.rows import ReportError
    from deqlab.runs.writing import write_whole

    if format != "html":
        files = export(runs, out or runs[0] / "figures", format)
        print(f"{files[-1]}: {len(files) - 1} figures beside it, with a caption for each")
        return
    html = render(runs)
    target = out or runs[0] / "report.html"
    try:
        write_whole(target, html)
    except OSError as error:
        raise ReportError(f"{target} cannot be written to ({error.strerror})") from error
    print(f"{target}: open it in a browser")


@app.command()
def data(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets; default: all of them.")
    ] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download what is missing.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show which data is here and sound; with --fetch, get what is not."""
    from deqlab.cli.data import look_after

    if not look_after(names, fetch_missing=fetch, data_dir=data_dir):
        raise typer.Exit(1)
