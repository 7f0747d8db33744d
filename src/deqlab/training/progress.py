"""A bar that says how far training is: step k of n, time left, loss, and how the solves go."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch import Tensor

from deqlab.training.convergence_log import ConvergenceLog


class Bar:
    """Shows a bar on standard error while it is entered, if that is a terminal.

    Args:
        total: The number of steps, or None if it is not known.
        shown: Whether there is a bar at all.
    """

    def __init__(self, total: int | None, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("step"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            # At 80 columns this one has a second line, rather than the others a cut end.
            TextColumn("{task.description}", table_column=Column()),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, index: int, loss: Tensor, log: ConvergenceLog | None) -> None:
        """Show a step that was taken."""
        if self._progress.disable or self._progress.finished:
            return
        if index < 10 or index % 10 == 0:  # reading the loss waits for a device
            told = [f"loss {loss.item():.4g}", *([] if log is None else log.in_words())]
            self._progress.update(self._task, description=", ".join(told))
        self._progress.update(self._task, completed=index)
