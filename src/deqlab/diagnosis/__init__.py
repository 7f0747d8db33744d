"""What is the matter with a DEQ, or with any map f(z, x): measured, and said in sentences.

`diagnose` runs probes, each of which measures one thing, and returns findings, the most important
first. `deqlab diagnose` is the same on the command line, with a page.
"""

from deqlab.diagnosis.course import diagnose
from deqlab.diagnosis.findings import Diagnosis, Finding, Rank
from deqlab.diagnosis.measurements import Measurements
from deqlab.diagnosis.page import write_page
from deqlab.diagnosis.subject import DiagnosisError

__all__ = [
    "Diagnosis",
    "DiagnosisError",
    "Finding",
    "Measurements",
    "Rank",
    "diagnose",
    "write_page",
]
