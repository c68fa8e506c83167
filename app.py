"""Open a page on this computer that fits faces: drop a photo or a video, turn and take the result.

python app.py
python app.py --port 9000 --preset best
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from options import parse_command
from options.app_options import AppOptions
from options.face_options import FaceModelOptions, check_face_model
from options.groups import APP_GROUPS
from util.command import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    typed = list(sys.argv[1:] if argv is None else argv)
    options = parse_command(APP_GROUPS, typed, __doc__ or "")
    check_face_model(options[FaceModelOptions])
    # What computes takes seconds to import; the page does not wait for it.
    from util.app.serving import serve

    serve(options[AppOptions], typed)


if __name__ == "__main__":
    run_command(main)
