"""The settings of a comparison on a table."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold

from deqlab.experiments.config import Config, check_at_least
from deqlab.inputs.table.table import Table, read_table
from deqlab.tasks.files.tables.file import TableFile

FOLDS = 5

TWICE = 1_000
"""Rows up to which the folds are drawn twice: of more, a fold tests enough of them."""


@dataclass(frozen=True, kw_only=True)
class TablesConfig(Config):
    """What is compared on.

    Attributes:
        seeds: The numbers of the folds: what is a seed elsewhere is a fold here.
        data: See `read_table`.
        checksum: Of a file, so that a run goes on only with what it began with; "" of others.
        target: See `read_table`.
        drop: Likewise.
        draw: Draws the folds, the held-out rows, weights and batches.
        width: The state of the DEQ.
        max_epochs: Of every network.
    """

    data: str
    checksum: str = ""
    target: str | None = None
    drop: tuple[str, ...] = ()
    draw: int = 0
    width: int = 64
    max_epochs: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "draw")
        check_at_least(self, 1, "width", "max_epochs")

    @property
    def repeats(self) -> int:
        """How often the folds are drawn."""
        return -(-len(self.seeds) // FOLDS)


def config_for(data: str, target: str | None, **fields: Any) -> TablesConfig:  # noqa: ANN401
    """Return the comparison on one table, in as many folds as its rows ask for.

    Args:
        data: See `TablesConfig`.
        target: Likewise.
        fields: Other fields of it.

    Raises:
        DataError: The table cannot be read or understood.
        ValueError: A field is outside of its domain.
    """
    checksum = TableFile(name=data).checksum() if Path(data).is_file() else ""
    config = TablesConfig(
        seeds=tuple(range(FOLDS)), data=data, target=target, checksum=checksum, **fields
    )
    repeats = 2 if len(table_of(config).y) <= TWICE else 1
    return replace(config, seeds=tuple(range(repeats * FOLDS)))


def table_of(config: TablesConfig) -> Table:
    """Return the table, which a process reads once."""
    return _read(config.data, config.target, config.drop, config.draw, config.checksum)


@lru_cache(maxsize=1)
def _read(data: str, target: str | None, drop: tuple[str, ...], seed: int, checksum: str) -> Table:
    return read_table(data, target, drop=drop, seed=seed)


def folds_of(config: TablesConfig, *, classes: bool) -> RepeatedKFold | RepeatedStratifiedKFold:
    """Return what splits the rows into the folds, in their order."""
    kind = RepeatedStratifiedKFold if classes else RepeatedKFold
    return kind(n_splits=FOLDS, n_repeats=config.repeats, random_state=config.draw)
