"""What is wrong with a command line of animate.py, as far as files tell it; torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from data.images import is_image_name
from data.video_kind import check_video_file
from options.animate_options import ALBEDO, AUTO, WRITTEN, AnimateOptions
from options.face_options import NAMED_FACE_MODELS, FaceModelOptions, check_face_model, split_level
from options.flags import ParsedOptions
from util.errors import InputError, of_flag
from util.folders import check_file, check_folder
from util.photos.saved_names import find_saved, is_network_track, read_record

_FIT = "fit it first: python fit.py"


def check_animation(options: ParsedOptions) -> None:
    """Refuse what there is no file for, and results that cannot be written, before the work.

    Raises:
        InputError: --coeffs or --with names nothing, or a file of another kind; they are of
            different face models; a flag means nothing beside the others.
    """
    _refuse_flags_in_vain(options)
    check_face_model(options[FaceModelOptions])
    wanted = options[AnimateOptions]
    if wanted.coeffs and find_saved(Path(wanted.coeffs)) is None:
        path = Path(wanted.coeffs)
        if path.suffix.lower() == ".csv":
            raise InputError(
                f"--coeffs {path}: units have no identity; give the coefficients of a face, and "
                "the csv to --with"
            )
        _refuse("coeffs", path)
    path = Path(wanted.with_)
    if path.suffix.lower() == ".csv":
        if not path.is_file():
            raise InputError(f"--with {path}: there is no such file; give a csv of named units")
        if not wanted.coeffs:
            raise InputError(f"--with {path}: units have no identity; give --coeffs fits/anna")
    elif wanted.with_ and find_saved(path) is None:
        if not path.is_file() or is_image_name(path):
            _refuse("with", path)
        with of_flag("with"):
            check_video_file(path)
        check_folder(wanted.res_folder, "res_folder")
    if wanted.texture not in (AUTO, ALBEDO) and not Path(wanted.texture).is_file():
        raise InputError(
            f"--texture {wanted.texture}: there is no such file; give the _textured.png that "
            f"fit.py --save texture wrote, {AUTO} or {ALBEDO}"
        )
    _check_faces(options)
    out = Path(wanted.out or "animations/any.mp4")
    (check_file if out.suffix.lower() in WRITTEN else check_folder)(out, "out")


def _refuse(flag: str, path: Path) -> NoReturn:
    """Say what a file without coefficients is, and what to do with it."""
    if path.is_file() and is_image_name(path):
        raise InputError(f"--{flag} {path} is a photo; {_FIT} {path}, then give fits/{path.stem}")
    if path.is_file() and flag == "coeffs":
        raise InputError(
            f"--{flag} {path}: there are no coefficients beside it; {_FIT} {path}, then give "
            f"fits/{path.stem}"
        )
    others = ", a video, or a csv of named units" if flag == "with" else ""
    if beside := [p for p in (path.with_suffix(s) for s in (".npz", ".mat")) if p.is_file()]:
        raise InputError(f"--{flag} {path}: there is no such file; {beside[0]} would do")
    raise InputError(
        f"--{flag} {path}: there is no such file, nor {path.stem}.mat or .npz beside it; give "
        f"results of fit.py or test.py, such as fits/anna{others}"
    )


def _check_faces(options: ParsedOptions) -> None:
    """Refuse coefficients of a SynergyNet or of different face models, and a film of one frame.

    Raises:
        InputError: as the records beside the coefficients say.
    """
    wanted, (named, _) = options[AnimateOptions], split_level(options[FaceModelOptions].face_model)
    records = {
        flag: read_record(saved)
        for flag, given in (("coeffs", wanted.coeffs), ("with", wanted.with_))
        if given and (saved := find_saved(Path(given)))
    }
    for flag, record in records.items():
        if is_network_track(record.path):
            raise InputError(
                f"--{flag} {record.path}: a SynergyNet followed this video, and knows neither the "
                "albedo nor the light that an animation needs; fit the video: python fit.py "
                "--v_path"
            )
    known = [record for record in records.values() if record.face_model]
    for record in known if options.given("face_model") and named in NAMED_FACE_MODELS else ():
        if record.face_model["name"] != named:
            raise InputError(
                f"--face_model {named}: {record.path} is of face model {record.named}; leave the "
                "flag out, or fit again with it"
            )
    if len({record.face_model["fingerprint"] for record in known}) > 1:
        person, other = known
        raise InputError(
            f"{other.path} is of face model {other.named}, {person.path} of {person.named}; "
            "coefficients of one model are noise to another: fit both with the same --face_model"
        )
    moving = records.get("with" if wanted.with_ else "coeffs")
    film = wanted.out.lower().endswith(".mp4") or not wanted.out
    if film and moving is not None and moving.of_photo:
        named = f"--out {wanted.out}" if wanted.out else "without --out, a .mp4 is written"
        raise InputError(f"{named}: a photo gives one frame; write a .png, a .glb or a folder")


def _refuse_flags_in_vain(options: ParsedOptions) -> None:
    """Flags that mean nothing here would be believed to work."""
    wanted = options[AnimateOptions]
    is_csv = wanted.with_.lower().endswith(".csv")
    for flag in ("fps", "head_factors"):
        if options.given(flag) and not is_csv:
            raise InputError(f"--{flag} is for a csv; leave it out with other --with")
    if options.given("texture") and wanted.out.lower().endswith(".csv"):
        raise InputError("--texture is for pictures and meshes; leave it out with a .csv")
    if options.given("neutral") and not wanted.relative:
        raise InputError("--neutral is for --relative; give it too, or leave it out")
    if not wanted.smooth:
        for flag in ("smooth_min_hz", "smooth_beta"):
            if options.given(flag):
                raise InputError(f"--{flag} is for --smooth; give it too, or leave it out")
