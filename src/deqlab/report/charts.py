"""A chart as numbers: its panels, the points of each arm, and what the axes show of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deqlab.report.arms import Arm
from deqlab.report.formats import Format
from deqlab.report.statistics import Spread


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What one axis shows."""

    field: str
    label: str
    scale: str
    format: Format

    @property
    def log(self) -> bool:
        """Whether the scale is logarithmic."""
        return self.scale == "log"

    def shows(self, value: float) -> bool:
        """Whether the axis has a place for `value`."""
        return math.isfinite(value) and (value > 0 or not self.log)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point, with its range over seeds in both directions."""

    x: Spread
    y: Spread


@dataclass(frozen=True, kw_only=True)
class Series:
    """The points of one arm, by increasing x; `lost` counts rows without a place on x.

    Those of a line or heat map also have their y by x and seed.
    """

    arm: Arm
    points: tuple[Point, ...]
    by_seed: Mapping[float, Mapping[int, float]]
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One coordinate system; `notes` says what of its data cannot be drawn."""

    title: str
    series: tuple[Series, ...]
    notes: tuple[str, ...]
    drawable: bool


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart: a panel, or several with the same axes; `level` is a tolerance, drawn across."""

    kind: str
    title: str
    caption: str
    x: Axis
    y: Axis
    panel_by: str | None
    panels: tuple[Panel, ...]
    legend: str
    level: float | None = None
