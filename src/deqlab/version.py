"""The version, in one place: packaging, environment.json and the report read it here."""

__version__ = "0.1.0.dev0"
