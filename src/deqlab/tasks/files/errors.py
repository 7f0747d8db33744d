"""The one error that data raises."""


class DataError(ValueError):
    """A data set is unknown, absent, damaged, or not what its name promises.

    The message is one sentence: what, where, what was measured, what to do next. The
    command line prints it and exits with code 2.
    """
