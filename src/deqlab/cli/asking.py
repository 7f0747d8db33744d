"""The commands that ask a model, a map or data something."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from deqlab.cli.app import DataDir, app, use_data_dir
from deqlab.cli.commands import report


@app.command()
def sample(
    run: Annotated[
        Path,
        typer.Argument(
            help="The folder of a run of a language model, a weights file, or language: the model "
            "that deqlab brings."
        ),
    ],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "\n",
    length: Annotated[int, typer.Option(min=1, help="How many tokens are added.")] = 300,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Lower is likelier; 0 takes the likeliest token.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(help="Of the numbers that draw the tokens.")] = 0,
    network: Annotated[str, typer.Option(help="Which network of the run: ARM-SEED.")] = "deq-0",
) -> None:
    """Let a language model of `deqlab train` write on, and say what a warm start saves."""
    from deqlab.cli.sample import write_on

    write_on(
        run,
        network=network,
        prompt=prompt,
        count=length,
        temperature=temperature,
        seed=seed,
    )


@app.command()
def diagnose(
    target: Annotated[
        str,
        typer.Argument(
            help="MODULE:NAME of f(z, x), or of a function without arguments that returns f, a "
            "model, or (f, x)."
        ),
    ],
    shape: Annotated[
        list[str] | None,
        typer.Option(help="An input to draw, such as 8,16; may be repeated."),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="A file of inputs: .npy, .npz or .pt.")
    ] = None,
    z0_shape: Annotated[
        str | None, typer.Option(help="The state, if it has another shape than the first input.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Which DEQ layer of a model that has several.")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="A solver, such as Picard.")] = None,
    gradient: Annotated[str | None, typer.Option(help="A gradient, such as JacobianFree.")] = None,
    rtol: Annotated[float | None, typer.Option(help="The tolerance of the solver.")] = None,
    batched: Annotated[
        bool | None,
        typer.Option(help="Whether rows are samples; default: as the layer says, or yes."),
    ] = None,
    starts: Annotated[int, typer.Option(min=0, help="Random starts that seek fixed points.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A new folder; default: a free one, runs/diagnose-NAME.")
    ] = None,
) -> None:
    """Say what is the matter with a map f(z, x) or a DEQ of yours; exit code 3 after an alarm."""
    from deqlab.cli.diagnose import ask
    from deqlab.cli.folders import free_folder
    from deqlab.diagnosis.page import write_page

    diagnosis = ask(
        target,
        shapes=shape or (),
        data=data or (),
        z0_shape=z0_shape,
        layer=layer,
        solver=solver,
        gradient=gradient,
        rtol=rtol,
        batched=batched,
        starts=starts,
        seed=seed,
    )
    print(diagnosis)
    out = out or free_folder("diagnose", target)
    page = write_page(diagnosis, out, shlex.join(["deqlab", *sys.argv[1:]]))
    print(f"\n{page}: open it in a browser")
    if diagnosis.alarms:
        raise typer.Exit(3)


@app.command()
def kernel(
    data: Annotated[
        str,
        typer.Argument(
            help="A table (.csv, .tsv, .parquet) or a file of samples (.npy, .npz); iris, wine or "
            "another that scikit-learn brings; a classification set that `deqlab data` lists or "
            "MODULE:NAME of yours; or mixture."
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option(
            help="Column of a table (the first is 1 if they have no names) or array of an .npz "
            "that holds the labels; default: label, labels, class, target or y, if there is one."
        ),
    ] = None,
    no_label: Annotated[
        bool, typer.Option("--no-label", help="All columns of a table are features.")
    ] = False,
    drop: Annotated[
        list[str] | None, typer.Option(help="A column that is left out; may be repeated.")
    ] = None,
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise/--as-is", help="Numbers of a table: mean 0, variance 1; or as they are."
        ),
    ] = True,
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
        Path | None,
        typer.Option(help="The run directory; default: runs/kernel-DATA, or a free one beside it."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Compare a DEQ's kernel with its equivalent and with explicit networks, on your data."""
    from deqlab.cli.kernel import ask

    use_data_dir(data_dir)
    folder = ask(
        data,
        label=label,
        no_label=no_label,
        drop=drop or (),
        standardise=standardise,
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
    report([folder])


@app.command()
def compare(
    data: Annotated[
        str,
        typer.Argument(
            help="A table: .csv, .tsv, .parquet or .npz; a folder with a folder of images for each "
            "class; digits, iris, wine or another that scikit-learn brings; or openml:ID."
        ),
    ],
    target: Annotated[str | None, typer.Option(help="The column that is predicted.")] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="A column that is left out; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the folds, and all else.")] = 0,
    jobs: Annotated[int | None, typer.Option(help="Workers; default: one for each core.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run directory; default: runs/compare-DATA.")
    ] = None,
    max_epochs: Annotated[int, typer.Option(help="Of every network.")] = 150,
) -> None:
    """Compare DEQs, explicit networks, linear models and trees on your table; save the best."""
    from deqlab.cli.compare import compare_on

    path = compare_on(
        data,
        target,
        drop=drop or (),
        seed=seed,
        jobs=jobs,
        out=out,
        max_epochs=max_epochs,
        command=shlex.join(["deqlab", *sys.argv[1:]]),
    )
    report([path])
