"""The error of checkpoints."""


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or used here; the message says why and what to do."""
