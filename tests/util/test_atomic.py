"""Atomic writes: the old content or the new, never a part, and no litter."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from util.atomic import (
    atomic_file,
    atomic_files,
    interrupts_deferred,
    remove_leftovers,
    write_bytes,
    write_text,
)

ROOT = Path(__file__).resolve().parents[2]


def test_content_is_written_and_parents_are_made(tmp_path: Path):
    path = tmp_path / "neu & ö" / "a.txt"
    write_text(path, "zwölf\n")
    assert path.read_bytes() == "zwölf\n".encode()
    write_bytes(path, b"\x00\xff\r\n")
    assert path.read_bytes() == b"\x00\xff\r\n"
    assert list(path.parent.iterdir()) == [path]


def test_names_that_are_no_text_do_not_cost_the_file(tmp_path: Path):
    text = os.fsdecode(b"bad\xff.jpg, z\xc3\xb6.jpg")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "list.txt", text)
    assert not list(tmp_path.iterdir())
    write_text(tmp_path / "list.txt", text, escaped=True)
    assert (tmp_path / "list.txt").read_text(encoding="utf-8") == "bad\\udcff.jpg, zö.jpg"


def test_line_ends_are_the_same_on_every_system(tmp_path: Path):
    with atomic_file(tmp_path / "a.txt", "w") as file:
        assert getattr(file, "newlines", None) is None
        file.write("a\nb\r\nc")
    assert (tmp_path / "a.txt").read_bytes() == b"a\nb\r\nc"


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, durable: bool, error: type[BaseException]
):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_file(path, durable=durable) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_system_refuses_bears_the_name_of_the_file(tmp_path: Path):
    """A full disk has none."""
    path = tmp_path / "a.bin"
    for name in (None, tmp_path / "other"):
        with pytest.raises(OSError, match="No space left") as raised, atomic_file(path):
            raise OSError(
                errno.ENOSPC, "No space left on device", *(() if name is None else (name,))
            )
        assert Path(raised.value.filename) == (name or path)
        assert raised.value.errno == errno.ENOSPC
    assert not path.exists()


def test_a_failed_first_write_leaves_nothing(tmp_path: Path):
    with pytest.raises(ValueError), atomic_file(tmp_path / "a.bin") as file:
        file.write(b"new")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_files_take_their_places_together(tmp_path: Path):
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    with atomic_files(tmp_path / "new folder") as staging:
        write_text(staging / "c.txt", "new")
    with atomic_files(tmp_path) as staging:
        write_text(staging / "a.txt", "new")
        write_text(staging / "b.txt", "new")
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "new folder"]
    for name in ("a.txt", "b.txt", "new folder/c.txt"):
        assert (tmp_path / name).read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_set_that_is_not_complete_changes_nothing(tmp_path: Path, error: type[BaseException]):
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    with pytest.raises(error), atomic_files(tmp_path) as staging:
        write_text(staging / "a.txt", "new")
        raise error
    with pytest.raises(OSError, match="No space left") as raised, atomic_files(tmp_path) as staging:
        write_text(staging / "a.txt", "new")
        with atomic_file(staging / "b.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "b.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("refused", ["a.txt", "b.txt", "c.txt"])
@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_refuses_to_be_replaced_keeps_the_others_too(
    tmp_path: Path, refused: str, links: bool, monkeypatch: pytest.MonkeyPatch
):
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name == refused and self.parent.name == "new":
            raise PermissionError(errno.EACCES, "in use", str(self))
        return replace(self, target)

    def no_links(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here", str(self))

    with pytest.raises(PermissionError, match="in use") as raised:
        _write_over_three(tmp_path, monkeypatch, refuse, None if links else no_links)
    assert raised.value.filename == str(tmp_path / refused)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "c.txt"]
    assert all(path.read_text(encoding="utf-8") == "old" for path in tmp_path.iterdir())


def test_what_cannot_be_put_back_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if (self.name, self.parent.name) in (("c.txt", "new"), ("a.txt", "earlier")):
            raise PermissionError(errno.EACCES, "in use", str(self))
        return replace(self, target)

    with pytest.raises(PermissionError, match="in use"):
        _write_over_three(tmp_path, monkeypatch, refuse)
    contents = {
        path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if path.is_file()
    }
    assert contents == {"a.txt": "new", "b.txt": "old", "c.txt": "old"}
    assert [path.read_text(encoding="utf-8") for path in tmp_path.glob(".*/earlier/*")] == ["old"]


def _write_over_three(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    replace: Callable[[Path, Path], Path],
    hardlink_to: Callable[[Path, Path], None] | None = None,
) -> None:
    """Three files and a new one over three, while moves are as told."""
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text("old", encoding="utf-8")
    with atomic_files(folder) as staging:
        for name in ("a.txt", "b.txt", "c.txt", "d.txt"):
            write_text(staging / name, "new")
        monkeypatch.setattr(Path, "replace", replace)
        if hardlink_to is not None:
            monkeypatch.setattr(Path, "hardlink_to", hardlink_to)


def test_readers_see_the_old_content_until_the_end(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with atomic_file(path, "w", durable=True) as file:
        file.write("new")
        file.flush()
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"


def test_a_killed_process_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = f"""
        import os, sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from util.atomic import atomic_file
        with atomic_file(Path({str(path)!r})) as file:
            file.write(b"half of the new")
            file.flush()
            os._exit(9)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=60)
    assert result.returncode == 9
    assert path.read_bytes() == b"old"


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path):
    kept = ["a.part", ".0123456789abcdef.txt", ".notes.part", "0123456789abcdef.part"]
    for name in [*kept, ".0123456789abcdef.part"]:
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    write_text(tmp_path / ".0123456789abcde0.part" / "new" / "a.txt", "x")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "sub"}
    remove_leftovers(tmp_path / "nowhere")


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path):
    path = tmp_path / "a.txt"
    with atomic_file(path, "w") as first, atomic_file(path, "w") as second:
        first.write("first")
        second.write("second")
    assert path.read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="permissions as on POSIX systems")
def test_the_file_gets_ordinary_permissions(tmp_path: Path):
    plain = tmp_path / "plain"
    plain.write_text("x", encoding="utf-8")
    write_text(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler, which a process started in the background of a shell lacks."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_file(tmp_path: Path):
    path = tmp_path / "a.bin"
    with pytest.raises(KeyboardInterrupt), interrupts_deferred(), atomic_file(path) as file:
        signal.raise_signal(signal.SIGINT)
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    with pytest.raises(KeyboardInterrupt):  # the usual handler is back
        signal.raise_signal(signal.SIGINT)
