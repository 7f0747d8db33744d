"""Settings of the whole suite."""

from hypothesis import settings

# The same examples on every machine: a red run is a bug, never luck. No deadline: machines share.
settings.register_profile("deqlab", deadline=None, derandomize=True, max_examples=12, database=None)
settings.load_profile("deqlab")
