"""What does the jobs; the jobs' thread imports it, since torch and face models take seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.kernels import on_first_compilation
from options.app_options import AppOptions
from options.face_options import FaceModelOptions
from options.flags import parse_command
from options.groups import APP_GROUPS
from util.app.jobs import Job, Wish
from util.app.photos import PhotoWork, offered_face_models
from util.app.videos import VideoWork


def prepare(
    argv: Sequence[str], on_compilation: Callable[[], None] = lambda: None
) -> tuple[Callable[[Job], None], tuple[str, ...]]:
    """Load the fitter of a command line.

    Args:
        argv: the command line.
        on_compilation: told if loops have to be compiled, which takes longer.

    Returns:
        What does a job; the face models that visitors may choose, the proposed one first.

    Raises:
        InputError: as `parse_command`; or the face model cannot be used.
    """
    options = parse_command(APP_GROUPS, argv)
    if not options.given("jaw_landmarks"):
        # Detectors mark where a turned head ends.
        options = options.with_values(FaceModelOptions, jaw_landmarks="silhouette")
    offered = offered_face_models(options[FaceModelOptions])
    with on_first_compilation(on_compilation):
        photos, videos = PhotoWork(options), VideoWork(options)
        photos.warm_up(offered[0], options[AppOptions].preset)

    def work(job: Job) -> None:
        wish = job.wish
        if not wish.face_model:  # asked for before it was known which there are
            job.wish = wish = Wish(wish.kind, offered[0], wish.preset, wish.face)
        if wish.kind == "photo":
            photos(job)
        else:
            videos(job, photos.load(wish.face_model).fitter.face_model)

    return work, offered
