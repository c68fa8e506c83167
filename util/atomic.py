"""Write files so that a reader, or a crash, sees the old content or the new, never a part."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part")


@contextmanager
def atomic_file(path: Path, mode: str = "wb", durable: bool = False) -> Iterator[IO]:
    """Open a temporary file beside `path` that takes its place when the block succeeds.

    Creates missing parent folders. After an exception the temporary file is gone and `path` is as
    it was; what the system refuses bears the name of `path`.

    Args:
        path: the file to write.
        mode: "wb" for bytes, "w" for UTF-8 text.
        durable: wait until the content is on the disk, so that it outlives a power cut too; worth
            its milliseconds for checkpoints, not for one of a thousand results.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is only atomic within one file system.
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        # The same bytes on every system: no translation of line ends.
        text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
        with temporary.open(mode.replace("w", "x"), **text) as f:
            yield f
            if durable:
                f.flush()
                os.fsync(f.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        nameless = (None, str(temporary), temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename in nameless:
            # A full disk has no name, and that of the temporary file says nothing.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Hand out an empty folder, whose files take their places in `folder` together at the end.

    After an exception, of the block or while files take their places, those that were in `folder`
    are there as they were; what the system refuses bears the name of the file in `folder`. Should
    it refuse to put an earlier file back as well, that one stays in a hidden folder there.

    Args:
        folder: of the files; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # In the same file system, so that files take their places by a rename.
    staging = folder / f".{secrets.token_hex(8)}.part"
    new, earlier = staging / "new", staging / "earlier"
    try:
        new.mkdir(parents=True)
        earlier.mkdir()
        yield new
        _replace_all(folder, new, earlier)
    except BaseException as error:
        place = Path(str(getattr(error, "filename", None) or ""))
        if isinstance(error, OSError) and error.errno is not None and staging in place.parents:
            raise OSError(error.errno, error.strerror, str(folder / place.name)) from error
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        with suppress(OSError):
            earlier.rmdir()  # what could not be put back stays there
            staging.rmdir()


def _replace_all(folder: Path, new: Path, earlier: Path) -> None:
    """Move all files of `new` into `folder`, or none.

    A file that is open elsewhere may refuse to be replaced (on Windows) when others are already:
    `earlier` holds a second name of each file that is replaced until all are. So a process that is
    killed meanwhile leaves each file old or new, and none is missing.
    """
    names = sorted(path.name for path in new.iterdir())
    placed: list[str] = []
    try:
        for name in names:
            with suppress(FileNotFoundError):
                _keep(folder / name, earlier / name)
            (new / name).replace(folder / name)
            placed.append(name)
    except BaseException:
        for name in placed:
            with suppress(OSError):  # the others are put back all the same
                if (earlier / name).exists():
                    (earlier / name).replace(folder / name)
                else:
                    (folder / name).unlink()
        for name in set(names) - set(placed):
            (earlier / name).unlink(missing_ok=True)
        raise
    for name in names:
        (earlier / name).unlink(missing_ok=True)


def _keep(path: Path, second: Path) -> None:
    """Give a file a second name, or copy it where the file system knows no such thing."""
    try:
        second.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(path, second)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files and folders of processes that were killed while they wrote.

    Call it only where nothing else is writing into this folder.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let the block finish before a Ctrl-C takes effect; only the main thread ever gets one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt


def write_text(path: Path, text: str, *, escaped: bool = False) -> None:
    """Write a UTF-8 text file atomically.

    Args:
        path: the file.
        text: its content.
        escaped: bytes of file names that are no text are written as escape sequences. For what
            people read: they must not cost the list of all others; no program finds such a file.
    """
    with atomic_file(path, "w") as file:
        file.write(text.encode("utf-8", "backslashreplace").decode() if escaped else text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_file(path) as file:
        file.write(content)
