"""Runs that differ in one field, seen as one run: its rows are along the values of the field.

It is written beside them as a run directory of its own, so that a report draws it as any other.
All that it holds comes from theirs, and it can be made again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deqlab.experiments.base import Experiment, Row, Verdict, summaries
from deqlab.experiments.page import VOCABULARY, Chart, Page, chart, column, known, table

POINT = "point"

_COSTS = ("flops", "flops_per_step", "step_flops", "parameters", "peak_memory_bytes")
"""Fields that say what a network costs, not how good it is; times are told by their names."""

_WIDE = 10
"""The largest value over the least from which an axis is logarithmic."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """An experiment, run once for each value of a field.

    Attributes:
        experiment: What runs.
        field: The field of its config.
        configs: The config of each value.
        rows: What is known of each so far.
    """

    experiment: Experiment[Any]
    field: str
    configs: Sequence[Any]
    rows: Sequence[Sequence[Row]]

    @property
    def values(self) -> list[Any]:
        """The values of the field, plain numbers where they are: of a tuple of one, the one."""
        return [_plain(getattr(config, self.field)) for config in self.configs]

    def describe(self, preset: str) -> dict[str, Any]:
        """Return what config.json holds."""
        listed = ", ".join(map(str, self.values))
        found = self.experiment.describe(self.configs[0], preset)
        usual = asdict(self.experiment.presets[preset])[self.field]
        return {
            **found,
            "title": f"{self.experiment.title}: a sweep over {self.field}",
            "claim": f"What changes with {self.field}, from run to run over {listed}?",
            "source": f"asked by deqlab --sweep; the claim at each value is of {found['source']}",
            "origin": "asked",
            "config": {**found["config"], self.field: self.values},
            "changed": {**found["changed"], self.field: usual},
            "report": asdict(self._page()),
        }

    def points(self) -> list[Row]:
        """Return the rows: of each arm and seed a point for each value, and a summary.

        A point holds the plain numbers of the summary that the job of that value left.
        """
        jobs: dict[tuple[str, int], list[Row]] = {}
        for value, rows in zip(self.values, self.rows, strict=True):
            for row in summaries(rows):
                key = {"arm": row["arm"], "seed": row["seed"]}
                point = {**key, "kind": POINT, **_numbers(row), self.field: value}
                jobs.setdefault((row["arm"], row["seed"]), []).append(point)
        ends = {
            (arm, seed): {"arm": arm, "seed": seed, "kind": "summary", **self._described(arm)}
            for arm, seed in jobs
        }
        return [row for key, points in jobs.items() for row in (*points, ends[key])]

    def judge(self, verdicts: Sequence[Verdict]) -> Verdict:
        """Return what came of all values, from their verdicts; a sweep has no claim of its own."""
        pairs = list(zip(self.values, verdicts, strict=True))
        told = (f"{verdict.outcome} at {value}" for value, verdict in pairs)
        return Verdict(
            outcome="not judged",
            sentence=f"By {self.field}: {', '.join(told)}.",
            details=(
                "Not judged: a sweep shows what a field changes; each value has its own verdict.",
                *(f"{self.field} {value}: {verdict.sentence}" for value, verdict in pairs),
            ),
        )

    def _described(self, arm: str) -> Row:
        """Return how an arm is called, and what it is matched in: what all values agree on.

        Of "FNN, depth 1, width 7" and "FNN, depth 1, width 9" that is "FNN, depth 1".
        """
        found = [row for rows in self.rows for row in summaries(rows) if row["arm"] == arm]
        labels = [str(row.get("label") or arm).split(", ") for row in found]
        common = [part for part in labels[0] if all(part in label for label in labels)]
        return {"label": ", ".join(common) or arm, "matching": found[0].get("matching")}

    def _page(self) -> Page:
        columns = [
            each
            for shown in self.experiment.page.tables
            if shown.rows == "summary"
            for each in shown.columns
        ] or [column(name) for name in self._told() if name in VOCABULARY]
        columns = [each for each in columns if each.field in self._told()]
        if not columns:
            return Page()
        judged = [each for each in columns if each.better and not _is_cost(each.field)]
        every = table(
            POINT,
            *{each.field: each for each in columns if each.field != self.field}.values(),
            title=f"By {self.field}",
            caption=f"The ends of all trainings, at each {self.field}: medians over seeds.",
            by=self.field,
        )
        drawn = self._chart((judged or columns)[0].field)
        return Page(charts=() if drawn is None else (drawn,), tables=(every,))

    def _chart(self, metric: str) -> Chart | None:
        """Return the chart of a metric against the field, or for words against the cost."""
        name, field = known(metric).label, known(self.field).label
        values = self.values
        if all(isinstance(value, int | float) for value in values):
            wide = min(values) > 0 and max(values) >= _WIDE * min(values)
            return chart(
                POINT,
                self.field,
                metric,
                title=f"{name.capitalize()} against {field}",
                caption="Every arm trained anew at each value.",
                x_label=field,
                x_scale="log" if wide else "linear",
                panel_by="matching",
            )
        cost = next((each for each in _COSTS if each in self._told() and each != metric), None)
        if cost is None:
            return None
        return chart(
            POINT,
            cost,
            metric,
            kind="scatter",
            title=f"{name.capitalize()} against {known(cost).label}, by {field}",
            caption=f"A panel for each {field}; every arm trained anew.",
            panel_by=self.field,
        )

    def _told(self) -> dict[str, None]:
        """Return the fields of the points, in their order."""
        return dict.fromkeys(
            name for rows in self.rows for row in summaries(rows) for name in _numbers(row)
        )


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value as a report shows it: a number or a word."""
    if isinstance(value, tuple):
        return _plain(value[0]) if len(value) == 1 else ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value


def _numbers(row: Mapping[str, Any]) -> Row:
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "seed"
    }


def _is_cost(field: str) -> bool:
    return field in _COSTS or field.endswith("seconds")
