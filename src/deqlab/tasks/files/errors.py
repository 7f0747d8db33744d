"""The errors that data raises, each with a message of one sentence."""


class DataError(ValueError):
    """A data set is unknown, absent, damaged, or not what its name promises.

    The message is one sentence: what, where, what was measured, what to do next. The
    command line prints it and exits with code 2.
    """


class NotOriginalError(DataError):
    """A file is sound, and its content is not what was published under its name.

    Attributes:
        checksum: The sha256 checksum that the content has, in hexadecimal, if it was taken.
    """

    def __init__(self, message: str, *, checksum: str | None = None) -> None:
        super().__init__(message)
        self.checksum = checksum


class OtherFileError(DataError):
    """A file is an original, but the original of another file of a known data set."""
