"""Turn run directories into one self-contained, offline HTML page.

The package reads the files that a run left on disk, and nothing else: it imports no
other part of deqlab and never torch, so a report can be rebuilt years later on a machine
that could not repeat the run. No figure shows a number that is not on disk.

    rows -> arms -> charts, tables -> plots (matplotlib, as inline SVG) -> html (jinja2)
"""

from deqlab.report.html import render
from deqlab.report.rows import ReportError

__all__ = ["ReportError", "render"]
