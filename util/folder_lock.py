"""Keep a second process out of a folder of ours, for as long as this one lives."""

from __future__ import annotations

import os
import sys
from pathlib import Path

LOCK_NAME = "lock"


class FolderLock:
    """The system's lock on a file in the folder, which it lifts when the process ends, however.

    Where the file system knows no locks, nothing is kept out.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            BlockingIOError: another process, or another object of this one, has it.
        """
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None
        while True:
            # A plain descriptor: it is not inherited, so that a child cannot keep the lock alive.
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                taken = _lock(self._descriptor)
            except BaseException:
                self.release()
                raise
            if not taken:
                self.release()
                raise BlockingIOError(f"{folder} is locked")
            if self._is_of_the_folder():
                return
            self.release()  # its owner removed the file between opening and locking: try again

    def _is_of_the_folder(self) -> bool:
        """Whether the file that is locked is still the one that others would open."""
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; once is enough.

        Args:
            remove: delete its file too.
        """
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        # An open file can be removed, but on Windows; who has opened it by then looks again.
        early = remove and sys.platform != "win32"
        if early:
            self._path.unlink(missing_ok=True)
        os.close(descriptor)
        if remove and not early:
            self._path.unlink(missing_ok=True)

    def __del__(self) -> None:
        # Not even made where opening the file failed.
        if getattr(self, "_descriptor", None) is not None:
            self.release()


def _lock(descriptor: int) -> bool:
    """Whether the lock could be taken, or there are no locks here."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # such as some network file systems
    return True
