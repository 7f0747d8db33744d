"""The command line as a whole: its name, and options that several commands take."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from deqlab.cli.early import TO_RUN, TO_TRAIN, Kind, complete_preset_of, more_presets
from deqlab.cli.names import BACKENDS, completed
from deqlab.version import __version__

app = typer.Typer(
    name="deqlab",
    help="Deep equilibrium models: compare them, measure them, explain them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _tell_version(asked: bool | None) -> None:
    if asked:
        print(f"deqlab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version, and end."
        ),
    ] = None,
) -> None:
    pass


DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with mnist/, cifar10/ and so on; else DEQLAB_DATA, else the cache."),
]


def _preset_of(kind: Kind) -> Any:  # noqa: ANN401, typer's own types hide what an option is
    usual = "smoke (seconds), quick (minutes) or full (hours); some have more"
    return typer.Option(
        help=f"{usual}: {more_presets(kind)}.", autocompletion=complete_preset_of(kind)
    )


PresetOfExperiments = Annotated[str, _preset_of(TO_RUN)]
PresetOfRecipes = Annotated[str, _preset_of(TO_TRAIN)]
Settings = Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE; may be repeated.")]
Sweep = Annotated[
    list[str] | None,
    typer.Option(help="FIELD=5,10,20: one run for each value, in OUT/NAME-by-FIELD."),
]
Seeds = Annotated[
    int | None, typer.Option(help="Run seeds 0 to N - 1; more than a run has are added to it.")
]
Out = Annotated[Path, typer.Option(help="Each run goes to OUT/NAME.")]
Jobs = Annotated[int, typer.Option(help="Workers.")]
Backend = Annotated[
    str,
    typer.Option(
        help="What runs them: loky (processes), or a dask or ray cluster.",
        autocompletion=completed(BACKENDS),
    ),
]


def use_data_dir(data_dir: Path | None) -> None:
    """Let data sets be looked for there."""
    # The environment, because worker processes inherit it; a config must not hold paths.
    if data_dir is not None:
        os.environ["DEQLAB_DATA"] = str(data_dir.absolute())
