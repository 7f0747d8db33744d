"""Residual and gradient error against time, over tolerances: the pictures of docs/choosing-*.md.

    python -m benchmarks.curves [--threads 1] [--repeats 5] [--workloads a,b] [--out FOLDER]
    python -m benchmarks.curves --draw benchmarks/results/curves_....json

One results file, and one SVG a question in docs/figures. Times are medians over interleaved rounds.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

from benchmarks import figures, results
from benchmarks.contenders import SOLVERS
from benchmarks.steps import Bench, deqlab_solve
from benchmarks.timing import seconds
from benchmarks.workloads import Workload, workloads
from deqlab import fixed_point
from deqlab.gradients import GMRES, Gradient, Implicit, JacobianFree, Phantom, Shine, Unrolled
from deqlab.solvers import Anderson, Auto, Broyden, Solver

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

GRADIENTS: dict[str, Callable[[float], tuple[Solver[Any], Gradient]]] = {
    "Implicit, by tolerance": lambda rtol: (Auto(rtol=rtol, max_steps=400), Implicit()),
    "Implicit(accuracy)": lambda rtol: (Auto(max_steps=400), Implicit(accuracy=rtol)),
    "Implicit, adjoint by Anderson": lambda rtol: (
        Auto(rtol=rtol, max_steps=400),
        Implicit(solver=Anderson(rtol=rtol, atol=0.0, memory=10, max_steps=300)),
    ),
    "Implicit, tight adjoint": lambda rtol: (
        Auto(rtol=rtol, max_steps=400),
        Implicit(solver=GMRES(rtol=1e-5)),
    ),
    "Shine(refine=3)": lambda rtol: (Broyden(rtol=rtol, max_steps=300), Shine(refine=3)),
    "Phantom(5)": lambda rtol: (Auto(rtol=rtol, max_steps=400), Phantom(steps=5)),
    "JacobianFree": lambda rtol: (Auto(rtol=rtol, max_steps=400), JacobianFree()),
    "Unrolled(steps=10)": lambda rtol: (Auto(rtol=rtol, max_steps=400), Unrolled(steps=10)),
}

Row = dict[str, Any]


def forward_rows(workload: Workload, repeats: int) -> list[Row]:
    """Return time and worst true residual of every solver at every tolerance."""
    f, z0 = workload.map(), workload.z0
    solvers = {
        (name, rtol): replace(solver, rtol=rtol, max_steps=500)
        for name, solver in SOLVERS.items()
        for rtol in TOLERANCES
    }
    runs = {
        key: partial(fixed_point, f, z0, solver=solver, on_failure="ignore")
        for key, solver in solvers.items()
    }
    taken = _times(runs, repeats)
    rows = []
    for (name, rtol), run in runs.items():
        value = run().value
        gap = (f(value) - value).flatten(1).norm(dim=1) / f(value).flatten(1).norm(dim=1)
        row = {"name": name, "rtol": rtol, "milliseconds": taken[name, rtol]}
        rows.append(row | {"error": gap.max().item()})
    return rows


def gradient_rows(workload: Workload, repeats: int) -> list[Row]:
    """Return time and true error of every gradient at every tolerance."""
    bench = Bench.of(workload)
    solves = {
        (name, rtol): deqlab_solve(*make(rtol))
        for name, make in GRADIENTS.items()
        for rtol in TOLERANCES
    }
    taken = _times({key: (lambda s=s: bench.step(s)) for key, s in solves.items()}, repeats)
    return [
        {"name": name, "rtol": rtol, "milliseconds": taken[name, rtol]}
        | {"error": bench.measure(solve)["gradient_error"]}
        for (name, rtol), solve in solves.items()
    ]


def _times(runs: dict[Any, Callable[[], object]], repeats: int) -> dict[Any, float]:
    times: dict[Any, list[float]] = {key: [] for key in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for key, run in runs.items():
            times[key].append(seconds(run))
    return {key: 1e3 * median(each) for key, each in times.items()}


def picture(file: str, label: str, panels: dict[str, list[Row]]) -> None:
    """Draw one panel a workload: error against time, one line a contender."""
    height = (len(panels) + 1) // 2
    figure, axes = plt.subplots(
        height, 2, figsize=(7, 2.7 * height + 0.8), sharey=True, layout="constrained", squeeze=False
    )
    for axis, (title, rows) in zip(axes.flat, panels.items(), strict=False):
        for i, name in enumerate(dict.fromkeys(row["name"] for row in rows)):
            points = [(row["milliseconds"], row["error"]) for row in rows if row["name"] == name]
            style = {"marker": "osD^vPX*"[i % 8], "linestyle": ("-", "--")[i % 2]}
            axis.plot(*zip(*points, strict=True), label=name, markersize=4, linewidth=1.2, **style)
        axis.set(xscale="log", yscale="log", title=title)
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("milliseconds")
    figure.supylabel(label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figures.save(figure, file)


def main() -> None:
    parser = results.parser(__doc__, repeats=5)
    parser.set_defaults(workloads="b,e,f,g")
    parser.add_argument("--draw", type=Path, help="draw this results file, and measure nothing")
    options = parser.parse_args()
    if options.draw:
        draw(json.loads(options.draw.read_text(encoding="utf-8")))
        return
    environment = results.start("python -m benchmarks.curves", options)
    forward, training = {}, {}
    for workload in workloads(results.letters(options.workloads)):
        title = f"{workload.key}: {workload.what}"
        results.console.print(title)
        forward[title] = forward_rows(workload, options.repeats)
        training[title] = gradient_rows(workload, options.repeats)
    content = {"environment": environment, "forward": forward, "training": training}
    results.save("curves", options, json.loads(json.dumps(content)))
    draw(content)


def draw(content: dict[str, Any]) -> None:
    """Draw both pictures."""
    picture("solvers.svg", "true residual / |f(z)|, worst row", content["forward"])
    picture("gradients.svg", "error of the gradient", content["training"])


if __name__ == "__main__":
    main()
