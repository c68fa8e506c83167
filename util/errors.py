"""Exceptions that the commands print as a single line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A file, flag or value from the user cannot be used.

    The message names the file or flag, the value received and the remedy. Commands print it as
    `error: <message>` and exit with code 2; a traceback would only hide the reason.
    """


@contextmanager
def of_flag(flag: str) -> Iterator[None]:
    """Begin the message of an InputError, which begins with a path, with the flag that gave it.

    Args:
        flag: its name; those with one dash with it.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{flag if flag.startswith('-') else f'--{flag}'} {error}") from error


class PeerLost(RuntimeError):
    """Another process of a distributed training is gone; the reason stands in its own output."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those it came from, latest first; libraries put ones of their own on top.

    Not those that were hidden on purpose (`raise ... from None`).
    """
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
