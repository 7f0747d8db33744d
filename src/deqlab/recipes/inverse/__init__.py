"""Recipes whose networks tell a picture from its measurements."""
