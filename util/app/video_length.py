"""Refuse a video that is too long: `python -m util.app.video_length FILE MINUTES`.

A command of its own, since files from outside are opened in no process but one that may crash.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data.video_stream import scan_packets
from util.errors import InputError

USUAL_HZ = 60
"""Frames take the time, not seconds: with more of them, a video counts as longer than it plays."""


def check_length(path: Path, most_minutes: float) -> None:
    """Refuse a video by its list of frames; none is decoded.

    Raises:
        InputError: it is too long, or no video.
    """
    index = scan_packets(path)
    played_s = float(index.times_s[-1] - index.times_s[0])
    minutes = max(played_s, len(index) / USUAL_HZ) / 60
    if minutes > most_minutes:
        raise InputError(
            f"{path} has {len(index)} frames and lasts {played_s / 60:.1f} minutes; more than "
            f"{most_minutes:g} minutes (at {USUAL_HZ} frames a second) are not taken: cut it, or "
            "let whoever runs the app give --video_minutes"
        )


if __name__ == "__main__":
    try:
        check_length(Path(sys.argv[1]), float(sys.argv[2]))
    except InputError as error:
        sys.exit(f"error: {error}")
