"""A run on disk: what its files hold, how they are read, and how a run begins and goes on.

The run directory is all that passes between experiments and the report. Nothing here imports
torch, so that a report can be made without it.
"""
