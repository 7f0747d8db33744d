"""The version, in one place: packaging, environment.json and the report read it here."""

__version__ = "0.2.0"
