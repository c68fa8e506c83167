"""What an error came from."""

from __future__ import annotations

from util.errors import causes


def caught(hide: bool) -> BaseException:
    """An error over another one, which may be hidden on purpose."""
    try:
        try:
            raise OSError("disk")
        except OSError as disk:
            if hide:
                raise ValueError("own") from None
            raise ValueError("own") from disk
    except ValueError as error:
        return error


def test_causes_go_from_the_latest_to_the_first():
    assert [str(error) for error in causes(caught(hide=False))] == ["own", "disk"]


def test_what_is_hidden_on_purpose_is_no_cause():
    assert [str(error) for error in causes(caught(hide=True))] == ["own"]
