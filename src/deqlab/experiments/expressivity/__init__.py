"""Experiments on what DEQs can represent, and what they learn of it."""
