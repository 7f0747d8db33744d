"""Recipes whose networks learn to control, and to observe."""
