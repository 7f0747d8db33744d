"""Measurements of deqlab beside other solvers of fixed points; see README.md in this folder."""
