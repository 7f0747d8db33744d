"""The bar of `fit`."""

import io

from rich.console import Console

from deqlab.training.progress import Bar


def test_at_80_columns_the_time_left_is_whole_and_so_are_the_words():
    bar = Bar(5000)
    said = "loss 0.1234, 12 evaluations, rate 0.51, 100 % converged"
    bar._progress.update(bar._task, completed=1234, description=said)
    console = Console(file=io.StringIO(), width=80)
    console.print(bar._progress.make_tasks_table(bar._progress.tasks))
    lines = console.file.getvalue().splitlines()
    assert "1234/5000" in lines[0]
    assert "-:--:--" in lines[0]
    assert " ".join(" ".join(lines).split()).endswith("100 % converged")
    assert "…" not in "".join(lines)
