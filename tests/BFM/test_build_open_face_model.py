"""The build script, run on a made-up wheel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def test_the_same_wheel_gives_the_same_bytes(
    small_file: Path, build_small: Callable[[Path, int], None], tmp_path: Path
):
    """In another process, with other hashes of strings."""
    again = tmp_path / "again.npz"
    build_small(again, 2)
    assert again.read_bytes() == small_file.read_bytes()
