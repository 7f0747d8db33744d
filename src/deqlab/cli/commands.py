"""The commands: each parses what it is given and calls one function.

Everything heavy is imported inside the commands, so that `--help` answers at once and `report`
never imports torch.
"""

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # it imports torch
    from deqlab.experiments.base import Experiment

app = typer.Typer(
    name="deqlab",
    help="Deep equilibrium models: compare them, measure them, explain them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with mnist/, cifar10/ and so on; else DEQLAB_DATA, else the cache."),
]

Preset = Annotated[str, typer.Option(help="smoke (seconds), quick (minutes) or full.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE; may be repeated.")]
Seeds = Annotated[int | None, typer.Option(help="Run seeds 0 to N - 1.")]
Out = Annotated[Path, typer.Option(help="Each run goes to OUT/NAME.")]
Jobs = Annotated[int, typer.Option(help="Workers.")]
Backend = Annotated[
    str, typer.Option(help="What runs them: loky (processes), or a dask or ray cluster.")
]


@app.command("list")
def list_experiments() -> None:
    """List the experiments and the claims they test."""
    from deqlab.experiments import EXPERIMENTS

    _show(EXPERIMENTS.values(), what="experiment")


def _show(experiments: "Iterable[Experiment[Any]]", *, what: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 1, 0))
    for heading in (what, "claim", "source"):
        table.add_column(heading)
    for experiment in experiments:
        table.add_row(f"[bold]{experiment.name}[/]", experiment.claim, experiment.source)
    Console().print(table)


@app.command()
def run(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Experiments, see `deqlab list`; claims stands for all about what DEQs represent "
            "and learn."
        ),
    ],
    preset: Preset = "quick",
    settings: Settings = None,
    seeds: Seeds = None,
    out: Out = Path("runs"),
    jobs: Jobs = 1,
    backend: Backend = "loky",
    data_dir: DataDir = None,
) -> None:
    """Run experiments; one that was interrupted goes on where it stopped."""
    from deqlab.cli.running import run_all
    from deqlab.experiments import EXPERIMENTS

    _use_data_dir(data_dir)
    run_all(
        [EXPERIMENTS[name] for name in _members(names)],
        named=names,
        preset=preset,
        settings=settings,
        seeds=seeds,
        out=out,
        jobs=jobs,
        backend=backend,
    )


def _members(names: list[str]) -> list[str]:
    """Return the experiments of these names, those of a group in its place, each once."""
    from deqlab.cli.overrides import one_of
    from deqlab.experiments import EXPERIMENTS, GROUPS

    known = [one_of(name, [*EXPERIMENTS, *GROUPS], what="experiment") for name in names]
    return list(dict.fromkeys(each for name in known for each in GROUPS.get(name, (name,))))


@app.command()
def train(
    names: Annotated[
        list[str] | None, typer.Argument(help="Recipes; without any they are listed.")
    ] = None,
    preset: Preset = "quick",
    settings: Settings = None,
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
    from deqlab.cli.overrides import one_of
    from deqlab.cli.running import run_all
    from deqlab.experiments.comparing.evidence import WELL_SOLVED
    from deqlab.recipes import RECIPES

    if not names:
        _show(RECIPES.values(), what="recipe")
        return
    _use_data_dir(data_dir)
    chosen = [RECIPES[one_of(name, RECIPES, what="recipe")] for name in dict.fromkeys(names)]
    left = run_all(
        chosen,
        named=names,
        preset=preset,
        settings=settings,
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
def kernel(
    data: Annotated[
        str,
        typer.Argument(
            help="mixture, a classification set that `deqlab data` lists, or a file of samples: "
            ".csv, .tsv, .npy or .npz."
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option(
            help="Column (.csv; the first is 1 if they have no names) or array (.npz) of a file "
            "that holds the labels; default: label, labels, class, target or y, if there is one."
        ),
    ] = None,
    activation: Annotated[
        str,
        typer.Option(help="relu, tanh, leaky_relu, elu, swish, erf, hard_tanh or identity."),
    ] = "relu",
    sigma_a2: Annotated[
        float, typer.Option("--sigma-a2", help="Variance of the recurrent weights.")
    ] = 0.2,
    kind: Annotated[str, typer.Option(help="conjugate or tangent.")] = "conjugate",
    trained: Annotated[
        str, typer.Option(help="Whose tangent kernel: readout+recurrent, or all.")
    ] = "readout+recurrent",
    samples: Annotated[int, typer.Option(help="How many samples are drawn.")] = 400,
    dimension: Annotated[int, typer.Option(help="Dimension of the mixture.")] = 1000,
    classes: Annotated[
        str, typer.Option(help="Classes of an image set, such as 6,8.")
    ] = "0,1,2,3,4,5,6,7,8,9",
    seeds: Annotated[int, typer.Option(help="Draws of the samples.")] = 1,
    width: Annotated[
        int, typer.Option(help="Of the finite networks that are timed; 0 leaves them out.")
    ] = 1024,
    out: Annotated[
        Path | None, typer.Option(help="The run directory; default: runs/kernel-DATA.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Compare a DEQ's kernel with its equivalent and with explicit networks, on your data."""
    from deqlab.cli.kernel import ask

    _use_data_dir(data_dir)
    # A directory has the run of one file, and a name at most 255 bytes.
    out = out or Path("runs") / f"kernel-{Path(data).name[-60:]}"
    ask(
        data,
        label=label,
        activation=activation,
        sigma_a2=sigma_a2,
        kind=kind,
        trained=trained,
        samples=samples,
        dimension=dimension,
        classes=classes,
        seeds=seeds,
        width=width,
        out=out,
        command=shlex.join(["deqlab", *sys.argv[1:]]),
    )
    report([out])


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; default: report.html in the first.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about runs."""
    from deqlab.report.html import render
    from deqlab.report.rows import ReportError
    from deqlab.runs.writing import write_whole

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


def _use_data_dir(data_dir: Path | None) -> None:
    # The environment, because worker processes inherit it; a config must not hold paths.
    if data_dir is not None:
        os.environ["DEQLAB_DATA"] = str(data_dir.absolute())
