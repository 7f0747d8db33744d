"""Recipes whose networks tell a field from another: neural operators."""
