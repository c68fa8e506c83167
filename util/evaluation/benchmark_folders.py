"""Whether a benchmark's folder holds what a score needs, by names alone; torch-free.

So a wrong folder, or a copy that lacks files, is refused before anything is imported that takes
seconds, and with all that lacks. What the files hold, `find` of each benchmark looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
FACESCAPE_COUNTS = {"wild": 400, "lab": 20}
"""Published meshes of each set: their names are the numbers from 0."""
REMEDIES = {
    "now": "the list, photos and scans come from now.is.tue.mpg.de",
    "realy": "the folder comes from github.com/czh-98/REALY and the Headspace agreement",
    "facescape": "the folder benchmark/ and its data come from github.com/zhuhao-nju/facescape",
}
"""End of a message about a wrong or missing file."""
_LAYOUT = "docs/evaluation.md and the benchmark's file in util/evaluation say what lies where"
_NAMED, _OTHERS_NAMED = 5, 2
"""Missing files in a message, and other places of each."""


@dataclass(frozen=True)
class Needed:
    """A file or folder."""

    places: tuple[str, ...]
    """Where it may be in the benchmark's folder, in words: `<name>` is any name."""
    is_there: bool
    """At one of them."""


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
    missing = [one for one in needed if not one.is_there]
    if missing:
        named = ", ".join(_in_words(one.places) for one in missing[:_NAMED])
        more = ", ..." if len(missing) > _NAMED else ""
        raise InputError(
            f"--benchmark_root {root} lacks {len(missing)} of {len(needed)} files and folders of "
            f"--benchmark {name}: {named}{more}; {REMEDIES.get(name, _LAYOUT)}"
        )


def listed_now(path: Path) -> list[str]:
    """Lines of one of NoW's lists, cut to their last three parts: `<subject>/<challenge>/<image>`.

    Raises:
        InputError: it does not exist, is no text, is empty, or has a line of another kind.
    """
    if not path.is_file():
        raise InputError(f"--benchmark_root: {path} does not exist; {REMEDIES['now']}")
    try:
        text = decode_text(path.read_bytes())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; {REMEDIES['now']}") from error
    names = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        parts = line.replace("\\", "/").split("/")[-3:]
        # Such names would be of another place than that of this photo, of predictions as well.
        is_named = len(parts) == 3 and not {"", ".", ".."} & set(parts)
        if not is_named or parts[1] not in NOW_CHALLENGES or not line.isprintable():
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
    found = (path for ending in ENDINGS for path in folder.glob(f"*{ending}"))
    return {path.stem for path in found if path.is_file()}


def micc_videos(root: Path) -> list[Path]:
    """The folders of frames, `frames/<person>/<video>/`."""
    return sorted(path for path in (root / "frames").glob("*/*") if path.is_dir())


def facescape_truths(root: Path, photo_set: str) -> list[Path]:
    """The true meshes of a set, by their names: those of other names are of no photo."""
    found = (root / "data" / f"{photo_set}_gt_mesh").glob("*.obj")
    count = FACESCAPE_COUNTS[photo_set]
    return sorted(
        path
        for path in found
        if path.stem.isdecimal() and int(path.stem) < count and path.is_file()
    )


def m3dfb_names(folder: Path) -> list[str]:
    """Names of the files of points in a folder, without ending."""
    return sorted(path.stem for path in folder.glob("*.txt") if path.is_file())


def _file(root: Path, *places: str) -> Needed:
    return Needed(places, any((root / place).is_file() for place in places))


def _folder(root: Path, *places: str) -> Needed:
    return Needed(places, any((root / place).is_dir() for place in places))


def _any_of(found: Iterable[object], *places: str) -> Needed:
    """Whatever was found there."""
    return Needed(places, any(True for _ in found))


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    return (path for path in folder.glob(pattern) if path.is_file())


def _now(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """The list, the photos in it, and a scan with landmarks of each person in it."""
    image_set = options[NowOptions].image_set
    listed = root / NOW_LISTS[image_set]
    yield _file(root, listed.name)
    scans, picked = "scans", "scans_lmks_onlypp"
    is_scored = image_set == "validation"
    if is_scored:
        yield from (_folder(root, scans), _folder(root, picked))
    names = listed_now(listed) if listed.is_file() else []
    if not options[EvaluateOptions].predictions:
        for name in names:
            yield _file(root, *(f"{place}/{NOW_PHOTOS}/{name}" for place in NOW_PLACES), name)
    if is_scored:
        for subject in dict.fromkeys(name.split("/")[0] for name in names):
            for place, ending in ((scans, ".obj"), (picked, ".pp")):
                found = _files(root / place / subject, f"*{ending}")
                yield _any_of(found, f"{place}/{subject}/<name>{ending}")


def _realy(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """Photos and a template; where there are regions of scans, those of each photo or mesh."""

    def either(*names: str) -> tuple[str, ...]:
        return (*names, *(f"data/{name}" for name in names))

    theirs = options[EvaluateOptions].predictions
    place = Path(theirs or options[RealyOptions].image_folder or root / "REALY_image")
    if not theirs:
        yield _file(root, *either(*(f"{name}.txt" for name in REALY_TEMPLATES)))
        if not options[RealyOptions].image_folder:
            yield _folder(root, "REALY_image")
    if not _folder(root, *either("REALY_scan_region")).is_there:
        return
    yield _file(root, *either("metrical_scale.txt"))
    photos = image_names(place) if place.is_dir() and not theirs else ()
    stems = [Path(name).stem for name in photos] or [path.stem for path in place.glob("*.obj")]
    for number in sorted({int(n) for stem in stems if (n := stem.split("_")[0]).isdecimal()}):
        yield _file(root, *either(f"REALY_HIFI3D_keypoints/{number}.obj"))
        for region in REALY_REGIONS:
            stem = f"REALY_scan_region/{number}/{region}"
            yield _file(root, *either(*(stem + ending for ending in ENDINGS)))


def _micc(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """Frames, and a scan with landmarks of each person in them."""
    scanned = mesh_stems(root / "scans")
    yield _any_of(scanned, *(f"scans/<person>{ending}" for ending in ENDINGS))
    videos = micc_videos(root)
    if not options[EvaluateOptions].predictions:
        yield _any_of(videos, "frames/<person>/<video>/")
    for person in sorted({video.parent.name for video in videos} or scanned):
        stem = f"scans/{person}"
        yield _file(root, *(stem + ending for ending in ENDINGS))
        yield _file(root, f"{stem}.pp", f"{stem}.txt")


def _facewarehouse(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """True meshes with their landmarks, and photos."""
    names = mesh_stems(root / "meshes")
    yield _any_of(names, *(f"meshes/<name>{ending}" for ending in ENDINGS))
    if not options[EvaluateOptions].predictions:
        yield _folder(root, "images")
    for name in sorted(names):
        yield _file(root, f"meshes/{name}.pp", f"meshes/{name}.txt")


def _facescape(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """Tables of the code, true meshes, and in the lab cameras."""
    photo_set = options[FaceScapeOptions].photo_set
    for table in FACESCAPE_TABLES[photo_set]:
        yield _file(root, f"code/predef/{table}.npy")
    last = FACESCAPE_COUNTS[photo_set] - 1
    meshes = f"data/{photo_set}_gt_mesh/<0 to {last}>.obj"
    yield _any_of(facescape_truths(root, photo_set), meshes)
    if photo_set == "lab":
        yield _any_of(_files(root / "data/lab_cam", "*.json"), "data/lab_cam/<photo>.json")


def _m3dfb(root: Path, options: ParsedOptions) -> Iterator[Needed]:
    """True points with their landmarks."""
    names = m3dfb_names(root / "Gmeshes")
    yield _any_of(names, "Gmeshes/<id>.txt")
    for name in names:
        yield _file(root, f"Gmeshes/{name}.lmks")


NEEDED: Mapping[str, Callable[[Path, ParsedOptions], Iterator[Needed]]] = {
    "now": _now,
    "realy": _realy,
    "micc": _micc,
    "facewarehouse": _facewarehouse,
    "facescape": _facescape,
    "m3dfb": _m3dfb,
}
"""Of the benchmarks that `--benchmark_root` names; aflw2000 has `data.aflw2000.check_files`."""


def _in_words(places: tuple[str, ...]) -> str:
    """The first place, and some of those that would do as well."""
    first, *others = places
    more = ", ..." if len(others) > _OTHERS_NAMED else ""
    return f"{first} (or {', '.join(others[:_OTHERS_NAMED])}{more})" if others else first
