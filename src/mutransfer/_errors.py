"""The one exception that mutransfer raises for bad input."""


class MutransferError(ValueError):
    """Bad input: the message says what was wrong, where, and what to do.

    The command line prints it as one sentence and exits with code 2.
    """
