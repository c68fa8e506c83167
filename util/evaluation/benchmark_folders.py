"""Whether a benchmark's folder holds what a score needs, by names alone; torch-free.

So a wrong folder, or a copy that lacks files, is refused before anything is imported that takes
seconds, and with all that lacks. What the files hold, `find` of each benchmark looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from glob import escape
from pathlib import Path

from data.images import image_names
from options.evaluate_options import (
    EvaluateOptions,
    FaceScapeOptions,
    NowOptions,
    RealyOptions,
)
from options.flags import ParsedOptions
from util.errors import InputError
from util.mesh_files.mesh_reader import ENDINGS
from util.text import decode_text

NOW_LISTS = {"validation": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
NOW_CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
NOW_PHOTOS = "iphone_pictures"
NOW_PLACES = ("NoW_Dataset/final_release_version", "final_release_version", "NoW_Dataset", ".")
"""Where its photos, and the boxes of their faces, may lie in NoW's folder."""
REALY_REGIONS = ("nose", "mouth", "forehead", "cheek")
REALY_TEMPLATES = ("HIFI3D", "BFM09", "Deep3D", "FLAME", "3DDFA_v2")
FACESCAPE_TABLES = {
    "wild": ("wild_pupil_scales", "wild_head_centers", "wild_rotations"),
    "lab": ("lab_head_centers", "lab_rotations"),
}
"""Of each set of photos, in `code/predef`."""
REMEDIES = {
    "now": "the list, photos and scans come from now.is.tue.mpg.de",
    "realy": "the folder comes from github.com/czh-98/REALY and the Headspace agreement",
    "facescape": "the folder benchmark/ and its data come from github.com/zhuhao-nju/facescape",
}
"""End of a message about a wrong or missing file."""
_LAYOUT = "docs/evaluation.md and the benchmark's file in util/evaluation say what lies where"
_NAMED, _OTHERS_NAMED = 5, 2
"""Missing files in a message, and other places of each."""

Needed = tuple[str, ...]
"""A file or folder: patterns of where it may be in the benchmark's folder, one of which is met."""


def check_benchmark_folder(root: Path, options: ParsedOptions) -> None:
    """Refuse a folder that lacks files.

    Args:
        root: `--benchmark_root`, which is a folder.
        options: of the command, with the benchmark's own.

    Raises:
        InputError: the message says how many lack, and the first of them.
    """
    name = options[EvaluateOptions].benchmark
    needed = list(dict.fromkeys(NEEDED[name](root, options)))
    missing = [places for places in needed if not any(_is_met(root, place) for place in places)]
    if missing:
        named = ", ".join(_in_words(places) for places in missing[:_NAMED])
        more = ", ..." if len(missing) > _NAMED else ""
        raise InputError(
            f"--benchmark_root {root} lacks {len(missing)} of {len(needed)} files and folders of "
            f"--benchmark {name}: {named}{more}; {REMEDIES.get(name, _LAYOUT)}"
        )


def listed_now(path: Path) -> list[str]:
    """Lines of one of NoW's lists, cut to their last three parts: `<subject>/<challenge>/<image>`.

    Raises:
        InputError: it is no text, is empty, or has a line of another kind.
    """
    try:
        text = decode_text(path.read_bytes())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; {REMEDIES['now']}") from error
    names = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        parts = line.replace("\\", "/").split("/")[-3:]
        if len(parts) < 3 or parts[1] not in NOW_CHALLENGES or not line.isprintable():
            raise InputError(
                f"{path}, line {number}: {line!r} is no <subject>/<challenge>/<image>, with one of "
                f"{', '.join(NOW_CHALLENGES)}"
            )
        names.append("/".join(parts))
    if not names:
        raise InputError(f"{path} is empty; {REMEDIES['now']}")
    return names


def mesh_stems(folder: Path) -> set[str]:
    """Names of the meshes in a folder, without ending."""
    return {path.stem for ending in ENDINGS for path in folder.glob(f"*{ending}")}


def _now(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """The list, the photos in it, and a scan with landmarks of each person in it."""
    image_set = options[NowOptions].image_set
    listed = root / NOW_LISTS[image_set]
    yield (listed.name,)
    is_scored = image_set == "validation"
    if is_scored:
        yield from (("scans",), ("scans_lmks_onlypp",))
    names = listed_now(listed) if listed.is_file() else []
    if not options[EvaluateOptions].predictions:
        for name in map(escape, names):
            yield (*(f"{place}/{NOW_PHOTOS}/{name}" for place in NOW_PLACES), name)
    if is_scored:
        for subject in dict.fromkeys(escape(name.split("/")[0]) for name in names):
            yield from ((f"scans/{subject}/*.obj",), (f"scans_lmks_onlypp/{subject}/*.pp",))


def _realy(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """Photos and a template; where there are regions of scans, those of each photo or mesh."""

    def either(*names: str) -> Needed:
        return (*names, *(f"data/{name}" for name in names))

    theirs = options[EvaluateOptions].predictions
    place = Path(theirs or options[RealyOptions].image_folder or root / "REALY_image")
    if not theirs:
        yield either(*(f"{name}.txt" for name in REALY_TEMPLATES))
        if not options[RealyOptions].image_folder:
            yield ("REALY_image",)
    if not any((root / name).is_dir() for name in either("REALY_scan_region")):
        return
    yield either("metrical_scale.txt")
    photos = image_names(place) if place.is_dir() and not theirs else ()
    stems = [Path(name).stem for name in photos] or [path.stem for path in place.glob("*.obj")]
    for number in sorted({int(n) for stem in stems if (n := stem.split("_")[0]).isdecimal()}):
        yield either(f"REALY_HIFI3D_keypoints/{number}.obj")
        for region in REALY_REGIONS:
            yield either(*(f"REALY_scan_region/{number}/{region}{end}" for end in ENDINGS))


def _micc(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """Frames, and a scan with landmarks of each person in them."""
    yield tuple(f"scans/*{ending}" for ending in ENDINGS)
    people = {path.parent.name for path in (root / "frames").glob("*/*") if path.is_dir()}
    if not options[EvaluateOptions].predictions:
        yield ("frames/*/*",)
    for person in sorted(people or mesh_stems(root / "scans")):
        stem = f"scans/{escape(person)}"
        yield from (tuple(stem + ending for ending in ENDINGS), (f"{stem}.pp", f"{stem}.txt"))


def _facewarehouse(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """True meshes with their landmarks, and photos."""
    yield tuple(f"meshes/*{ending}" for ending in ENDINGS)
    if not options[EvaluateOptions].predictions:
        yield ("images",)
    for name in sorted(mesh_stems(root / "meshes")):
        yield (f"meshes/{escape(name)}.pp", f"meshes/{escape(name)}.txt")


def _facescape(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """Tables of the code, true meshes, and in the lab cameras."""
    photo_set = options[FaceScapeOptions].photo_set
    yield from ((f"code/predef/{table}.npy",) for table in FACESCAPE_TABLES[photo_set])
    yield (f"data/{photo_set}_gt_mesh/*.obj",)
    if photo_set == "lab":
        yield ("data/lab_cam/*.json",)


def _m3dfb(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """True points with their landmarks."""
    yield ("Gmeshes/*.txt",)
    for path in sorted((root / "Gmeshes").glob("*.txt")):
        yield (f"Gmeshes/{escape(path.stem)}.lmks",)


NEEDED: Mapping[str, Callable[[Path, ParsedOptions], Iterator[Needed]]] = {
    "now": _now,
    "realy": _realy,
    "micc": _micc,
    "facewarehouse": _facewarehouse,
    "facescape": _facescape,
    "m3dfb": _m3dfb,
}
"""Of the benchmarks that `--benchmark_root` names; aflw2000 has `data.aflw2000.check_root`."""


def _is_met(root: Path, pattern: str) -> bool:
    return next(root.glob(pattern), None) is not None


def _in_words(places: Needed) -> str:
    """The first place, and some of those that would do as well."""
    first, *others = (place.replace("[[]", "[") for place in places)
    more = ", ..." if len(others) > _OTHERS_NAMED else ""
    return f"{first} (or {', '.join(others[:_OTHERS_NAMED])}{more})" if others else first
