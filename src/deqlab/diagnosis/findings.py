"""What a diagnosis says: findings in sentences, the most important first.

A finding is of one of three ranks. An alarm: what comes out is wrong, or is no fixed point. A
warning: it is right, and fragile, slow or biased enough that a user would want to know. A note: a
measurement that asks for nothing.
"""

from dataclasses import dataclass
from enum import IntEnum

from deqlab.diagnosis.measurements import Measurements


class Rank(IntEnum):
    """How much a finding matters; lower is more."""

    ALARM = 0
    """What comes out is wrong, or is no fixed point."""
    WARNING = 1
    """It is right, and fragile, slow or biased."""
    NOTE = 2
    """A measurement that asks for nothing."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found, and what to do about it.

    Attributes:
        rank: How much it matters.
        name: What it is, in a word or two with lines between them, for programs: `coupled-rows`.
        sentence: What was measured.
        advice: What to do; empty where there is nothing to do.
    """

    rank: Rank
    name: str
    sentence: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.sentence} {self.advice}".strip()


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that was found of a map, and the numbers behind it.

    Attributes:
        name: What was diagnosed.
        findings: In the order of their importance; at least one.
        measurements: What the probes measured.
    """

    name: str
    findings: tuple[Finding, ...]
    measurements: Measurements

    def of_rank(self, rank: Rank) -> tuple[Finding, ...]:
        """Return the findings of one rank, in order."""
        return tuple(finding for finding in self.findings if finding.rank == rank)

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings by which what comes out is wrong."""
        return self.of_rank(Rank.ALARM)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that a user would want to know."""
        return self.of_rank(Rank.WARNING)

    def names(self) -> list[str]:
        """Return the names of all findings, in order."""
        return [finding.name for finding in self.findings]

    def __str__(self) -> str:
        lines = [self.name]
        for rank in Rank:
            of = self.of_rank(rank)
            if of:
                lines += ["", f"{rank.name.capitalize()}{'s' if len(of) > 1 else ''}"]
                lines += [f"- {finding}" for finding in of]
        return "\n".join(lines)
