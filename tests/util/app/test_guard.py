"""Names by which the app may be called."""

from __future__ import annotations

import pytest

from util.app.guard import Guard, allowed_names, is_loopback


def refusal(guard: Guard, *headers: tuple[str, str]) -> int | None:
    scope = {
        "method": "POST",
        "path": "/api/photos",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    refused = guard.refusal(scope)
    return None if refused is None else refused[0]


def guard_of(host: str, others: str = "") -> Guard:
    names = allowed_names(host, others)
    return Guard(None, names, any_address=not is_loopback(host), policy="")


@pytest.mark.parametrize("name", ["localhost:1", "127.0.0.1:1", "[::1]:1", "LOCALHOST"])
def test_this_computer_has_these_names(name: str):
    assert refusal(guard_of("127.0.0.1"), ("host", name)) is None


@pytest.mark.parametrize("name", ["", "evil.example", "192.168.0.7:1", "localhost.evil.example"])
def test_no_others(name: str):
    assert refusal(guard_of("127.0.0.1"), ("host", name)) == 421


def test_a_server_for_others_goes_by_its_addresses_but_not_by_any_name():
    guard = guard_of("0.0.0.0", "faces.example, Lab.example")
    for name in ("192.168.0.7:8765", "[fe80::1]:1", "faces.example", "lab.example:80"):
        assert refusal(guard, ("host", name)) is None, name
    assert refusal(guard, ("host", "evil.example")) == 421


def test_two_hosts_or_none_are_refused():
    guard = guard_of("127.0.0.1")
    assert refusal(guard) == 400
    assert refusal(guard, ("host", "localhost"), ("host", "evil.example")) == 400


def test_the_origin_is_the_very_same():
    guard = guard_of("127.0.0.1")
    host = ("host", "127.0.0.1:8765")
    assert refusal(guard, host, ("origin", "http://127.0.0.1:8765")) is None
    for other in ("http://127.0.0.1:9999", "http://localhost:8765", "null", "file://", ""):
        assert refusal(guard, host, ("origin", other)) == 403, other


def test_loopback_is_more_than_one_address():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org")))
