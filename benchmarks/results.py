"""Command lines, tables and result files, the same for every measurement."""

import argparse
import datetime
import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from deqlab.runs.environment import describe

PEERS = ("torchdeq", "jaxopt", "optimistix")

console = Console(highlight=False)


def parser(
    description: str | None, *, repeats: int, threads: int = 1, workloads: bool = True
) -> argparse.ArgumentParser:
    """Return the options that all measurements share; `workloads`, those on workloads only."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--threads", type=int, default=threads, help="threads of torch")
    options.add_argument("--repeats", type=int, default=repeats, help="rounds of timing")
    if workloads:
        options.add_argument("--workloads", default="a,b,c,d,e,f,g,h", help="letters, as in a,b")
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return options


def letters(workloads: str) -> str:
    """Return the letters of a comma-separated list."""
    return "".join(workloads.replace(",", " ").split())


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def left_out() -> str | None:
    """Return a sentence about the peers that are not installed, None if all are."""
    absent = [peer for peer in PEERS if installed(peer) is None]
    if not absent:
        return None
    return f"Left out, not installed: {', '.join(absent)}; benchmarks/README.md says how to."


def header(command: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return where and how a measurement is made."""
    peers = {peer: installed(peer) for peer in (*PEERS, "jax")}
    settings = {"threads": options.threads, "repeats": options.repeats}
    settings["left_out"] = left_out()
    return describe(command, jobs=1) | peers | settings


def start(command: str, options: argparse.Namespace) -> dict[str, Any]:
    """Set the number of threads, say which peers are absent, and return the header."""
    torch.set_num_threads(options.threads)
    if (sentence := left_out()) is not None:
        console.print(sentence)
    return header(command, options)


def save(what: str, options: argparse.Namespace, content: dict[str, Any]) -> None:
    """Write one results file and print its name."""
    cores = content["environment"]["cores"]
    machine = f"{platform.machine()}-{cores}cores_{options.threads}threads"
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{what}_{machine}_{datetime.date.today():%Y-%m-%d}.json"
    file.write_text(json.dumps(content, indent=1) + "\n")
    console.print(f"{file}", soft_wrap=True)


def show(title: str, columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as an aligned table.

    Args:
        title: What stands above.
        columns: Key of a row -> format of its value, as in ".1e"; the key is the heading.
        rows: A row with a "failure" shows that sentence below the table.
    """
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    for key in columns:
        is_number = bool(columns[key])
        table.add_column(
            key.replace("_", " "), justify="right" if is_number else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(_cell(row.get(key), form) for key, form in columns.items()))
    console.print(table)
    for row in rows:
        if row.get("failure"):
            console.print(f"  {row['name']}: {row['failure']}")
    console.print()


def _cell(value: object, form: str) -> str:
    if value is None:
        return "-"
    return format(value, form) if form and not isinstance(value, str) else str(value)


def sentence(error: Exception) -> str:
    """Return an exception as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
