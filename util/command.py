"""Run a command's main function: user errors become one line and exit code 2."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from util.errors import InputError, PeerLost

PEER_LOST = 3
"""Exit code of a process that stopped only because another one of its training had."""

_OUTPUT_ERRORS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""What the user's disk or folders may refuse; other system errors are defects of the program."""


def run_command(main: Callable[[], None]) -> None:
    """Call a command and end the process with its exit code.

    0: done. 2: bad input, printed as `error: ...`. 3: another process of a distributed training
    ended. 130: interrupted by the user. Anything else is a defect of the program and keeps its
    traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        # A path that the terminal's encoding lacks must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except PeerLost as error:
        print(f"error: {error}", file=sys.stderr)
        # At once: the group's threads may still wait for the process that is gone.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(PEER_LOST)
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        print(
            f"error: cannot write {error.filename or 'a file'}: {error.strerror}; "
            "free space or give a folder that can be written",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
