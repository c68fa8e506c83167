"""Exceptions that the commands print as a single line."""


class InputError(ValueError):
    """A file, flag or value from the user cannot be used.

    The message names the file or flag, the value received and the remedy. Commands print it as
    `error: <message>` and exit with code 2; a traceback would only hide the reason.
    """


class PeerLost(RuntimeError):
    """Another process of a distributed training is gone; the reason stands in its own output."""
