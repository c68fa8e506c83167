"""The face model that figures are of."""

from __future__ import annotations

from dataclasses import replace

from options.face_options import FaceModelOptions
from options.flags import ParsedOptions


def named_model(options: ParsedOptions) -> FaceModelOptions:
    """The model that is named; unlike elsewhere, no file of the user's replaces the open one."""
    chosen = options[FaceModelOptions]
    return chosen if options.given("face_model") else replace(chosen, face_model="open")
