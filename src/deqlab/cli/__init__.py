"""The command line: run a command, and choose the exit code."""

import io
import signal
import sys

from deqlab.cli import asking, commands  # noqa: F401, they add themselves to the app
from deqlab.cli.app import app


def main() -> None:
    """Run the command line; a mistake of the user ends in one sentence and exit code 2.

    A DEQ that leaves its equilibrium ends in one sentence and exit code 3.

    SIGTERM, by which batch systems end a job, is an interruption like Ctrl-C.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that is no UTF-8 must not stop a run
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ValueError as error:
        if not _is_for_users(error):
            raise
        print(f"deqlab: {_printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        # By its name: `deqlab --help` must not wait for torch.
        if type(error).__name__ != "OffEquilibriumError":
            raise
        print(f"deqlab: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        print("deqlab: interrupted", file=sys.stderr)
        sys.exit(130)


def _is_for_users(error: ValueError) -> bool:
    # UsageError, RunError, DataError and ReportError have a text that is written for users; any
    # other is a bug of ours, and its traceback is what we need.
    return type(error).__module__.startswith("deqlab.")


def _printable(text: str) -> str:
    # A name of a file or of a column may have line ends, and what changes a terminal.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
