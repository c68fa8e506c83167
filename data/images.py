"""Read, list and write pictures: every photo enters the program through `read_image`.

One rule for all commands, so that image, mask and landmarks of a rotated or unusual photo always
agree: EXIF orientation is applied, every colour mode becomes 8-bit RGB, transparency is laid on
white.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Resampling

from util.atomic import atomic_file
from util.errors import InputError, of_flag

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Accepted file name endings, in any letter case."""
MAX_MEGAPIXELS = 175
"""Larger pictures are refused: a small file can claim any size (a decompression bomb), and 175
million pixels take half a gigabyte. Pillow's own limit lies just above, at 179."""
MIN_SIDE_PX = 16
"""A picture with a shorter side cannot show a face."""

_HEIF_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}
"""Of pictures in the container that .mp4 files have too; iPhones take HEIC."""
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF")
"""Pillow decoders that may run, whatever a file is called (some others start programs)."""
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright."""
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_image(path: Path | str, most_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """Read a photo as it is meant to be seen.

    Args:
        path: of the picture.
        most_megapixels: larger ones are refused before they are decoded.

    Returns:
        (H, W, 3) uint8 RGB: upright by its EXIF orientation, transparent parts on white, 16 bits
        scaled to 8, the first frame of an animation. ICC profiles are not applied.

    Raises:
        InputError: no such file, not a picture of a known format, damaged or truncated, larger
            than `most_megapixels` or smaller than MIN_SIDE_PX; the message names the file.
    """
    path = Path(path)
    _check_file(path)
    return _decode(path, path, most_megapixels)


def decode_image(content: bytes, name: str) -> np.ndarray:
    """`read_image` of a file's content, such as a member of an archive.

    Args:
        content: the whole file.
        name: what to call it in messages.
    """
    if not content:
        raise InputError(f"{name} is empty (0 bytes); replace the file")
    return _decode(io.BytesIO(content), name)


def check_image(path: Path) -> None:
    """Refuse by the head of the file what `read_image` would refuse, in a millisecond.

    What is damaged further on, the reader says.

    Raises:
        InputError: as `read_image`.
    """
    _check_file(path)
    with _opened(path, path, MAX_MEGAPIXELS):
        pass


def heif_kind(head: bytes) -> str:
    """What a file that begins like this is, of the pictures in an .mp4's container; else empty."""
    return _HEIF_BRANDS.get(head[8:12], "") if head[4:8] == b"ftyp" else ""


def heif_refusal(kind: str) -> str:
    """What to say of such a picture after its name."""
    return f"is a picture of the kind {kind}, which is not read here; save it as JPEG or PNG"


def is_still_picture(path: Path) -> bool:
    """Whether a file is a picture that does not move, whatever it is called."""
    try:
        with _opened(path, path, float("inf")) as image:
            return not getattr(image, "is_animated", False)
    except InputError:
        return False


def is_photo(path: Path) -> bool:
    """Whether a file that is named alone is taken for a photo: by its name, or a still GIF."""
    return is_image_name(path) or is_still_gif(path)


def is_still_gif(path: Path) -> bool:
    """Whether a file is called as a GIF is, and is there, and does not move."""
    return path.suffix.lower() == ".gif" and path.is_file() and is_still_picture(path)


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height by the head of the file, as it lies there; None where that cannot be read.

    Args:
        path: of the picture.
    """
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            return opened.size
    except Exception:  # whatever Pillow raises; reading the whole says what is wrong
        return None


def read_mask(path: Path | str) -> np.ndarray:
    """Read a skin mask: (H, W) uint8, the first channel where the file has several."""
    return read_image(path)[..., 0]


def reduce_image(image: np.ndarray, longest_px: int) -> np.ndarray:
    """The picture with its longer side at most so long: (H, W, 3) uint8; a copy only if reduced."""
    height, width = image.shape[:2]
    zoom = longest_px / max(height, width)
    if zoom >= 1:
        return image
    size = (max(round(width * zoom), 1), max(round(height * zoom), 1))
    reduced = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(reduced)


def resample_box(
    image: np.ndarray,
    box: tuple[float, float, float, float],
    side_px: int,
    kernel: Resampling,
    margin_px: int = 0,
) -> np.ndarray:
    """A part of a picture, resized in one step that smooths as much as it shrinks.

    Args:
        image: (H, W, 3) uint8.
        box: left, top, right, bottom in continuous pixels of the picture; it may reach beyond it,
            where the result is black.
        side_px: of the result.
        kernel: Pillow's filter.
        margin_px: pixels around the box that the filter may see too.

    Returns:
        (side, side, 3) uint8.
    """
    low, high = np.array(box[:2]), np.array(box[2:])
    first = np.floor(low).astype(int) - margin_px
    last = np.ceil(high).astype(int) + margin_px
    height, width = image.shape[:2]
    before = np.maximum(-first, 0)
    after = np.maximum(last - [width, height], 0)
    x, y = np.maximum(first, 0), np.minimum(last, [width, height])
    window = image[x[1] : max(y[1], x[1]), x[0] : max(y[0], x[0])]
    if before.any() or after.any():
        window = np.pad(window, ((before[1], after[1]), (before[0], after[0]), (0, 0)))
    # Pillow takes the box in single precision, which small numbers hold best.
    inner = (*(low - first).tolist(), *(high - first).tolist())
    resized = Image.fromarray(window).resize((side_px, side_px), kernel, box=inner)
    return np.asarray(resized)


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Write a picture atomically; the format follows the file name's ending.

    Args:
        path: .png (lossless) or .jpg/.jpeg (quality 95, full colour resolution).
        image: uint8, (H, W) grey, (H, W, 3) RGB or, PNG only, (H, W, 4) RGBA.
    """
    path = Path(path)
    if image.dtype != np.uint8:
        raise ValueError(f"write_image takes uint8, got {image.dtype} for {path}")
    if path.suffix.lower() == ".png":
        # Level 1 is three times as fast as the default and costs a few per cent of size.
        settings: dict = {"format": "PNG", "compress_level": 1}
    elif path.suffix.lower() in (".jpg", ".jpeg"):
        settings = {"format": "JPEG", "quality": 95, "subsampling": 0}
    else:
        raise ValueError(f"write_image writes .png, .jpg or .jpeg, not {path.name}")
    with atomic_file(path) as file:
        Image.fromarray(image).save(file, **settings)


def is_image_name(path: Path | str) -> bool:
    """Whether a name ends as a picture's does; hidden files (`._a.jpg`) are none."""
    name = os.path.basename(path)  # noqa: PTH119 - a Path for each of millions takes time
    return name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith(".")


def list_images(path: Path | str) -> list[Path]:
    """The pictures of a folder (not of its subfolders), sorted by name; or the one file given.

    That may be a GIF that does not move; of a folder none is taken, for most of them do.

    Raises:
        InputError: no such folder or file, nothing in it, or a file of another type.
    """
    path = Path(path)
    endings = " ".join(IMAGE_EXTENSIONS)
    if path.is_file():
        if not is_photo(path):
            raise InputError(f"{path} is not a picture; its name must end in one of {endings}")
        return [path]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give a folder of pictures or one picture")
    found = sorted(path / name for name in image_names(path))
    if not found:
        raise InputError(f"{path} has no pictures; their names must end in one of {endings}")
    return found


def check_named_photos(paths: Sequence[Path], flag: str) -> list[str]:
    """Refuse photos that were named one by one and of which none can be read, by their heads.

    Args:
        paths: what the flag names; a folder, which may hold bad photos, is not looked into.
        flag: for messages.

    Returns:
        What is wrong with those that cannot be read while others can.

    Raises:
        InputError: none of them can.
    """
    problems = []
    for path in paths:
        if path.is_dir():
            continue
        try:
            with of_flag(flag):
                check_image(path)
        except InputError as error:
            problems.append(str(error))
    if problems and len(problems) == len(paths):
        raise InputError("; ".join(problems))
    return problems


def image_names(folder: Path) -> Iterator[str]:
    """The names of a folder's pictures, in the order of the file system."""
    with os.scandir(folder) as entries:
        yield from (e.name for e in entries if is_image_name(e.name) and e.is_file())


def find_folder(name: str, data_root: Path, flag: str = "img_folder") -> Path:
    """The photos that `--img_folder` means: `data_root/name` if it exists, else `name` itself.

    Args:
        name: folder or, where a command takes one, a single picture.
        data_root: folder of the data sets.
        flag: that was given, for the message.

    Raises:
        InputError: neither exists.
    """
    for path in (data_root / name, Path(name)):
        if path.exists():
            return path
    places = " and ".join(dict.fromkeys([str(data_root / name), str(Path(name))]))
    meant = "the photo by its name" if is_image_name(name) else "the folder that holds the photos"
    raise InputError(
        f"--{flag} {name} does not exist (looked for {places}); give {meant}{_near(Path(name))}"
    )


def _near(path: Path) -> str:
    """What a misspelt path may stand for among its neighbours, as ` (did you mean a.png?)`."""
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return ""
    found = get_close_matches(path.name, names, 1, cutoff=0.7)
    return f" (did you mean {path.with_name(found[0])}?)" if found else ""


def common_folder(files: Sequence[Path]) -> Path:
    """The folder that several photos lie in.

    Raises:
        InputError: one of them is a folder, or they lie in several.
    """
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder; give it alone, or photos without it")
    folders = list(dict.fromkeys(file.parent for file in files))
    if len(folders) > 1:
        raise InputError(
            f"{files[0]} and other photos lie in several folders ({folders[0]}, {folders[1]}); "
            "photos of one call lie in one, since results bear their names: put them into one "
            "folder, or call once for each"
        )
    return folders[0]


def stems(paths: Sequence[Path]) -> list[str]:
    """The name under which each picture's results are stored: `a.jpg` -> `a`.

    Where two pictures of a folder share a stem, the later ones in sorted order use their whole
    name (`a.jpg` -> `a`, `a.png` -> `a.png`), so that nothing overwrites anything. Stems that
    differ only in letter case count as shared, since some file systems do not tell them apart.

    Args:
        paths: all pictures of one folder, in any order.

    Returns:
        One stem for each path, in the order of the paths.
    """
    named: dict[Path, str] = {}
    taken: set[str] = set()
    for path in sorted(paths):
        stem = path.stem if path.stem.casefold() not in taken else path.name
        while stem.casefold() in taken:
            stem += "_"
        taken.add(stem.casefold())
        named[path] = stem
    return [named[path] for path in paths]


def stem_family(name: str) -> str:
    """What all pictures share whose stems could ever meet, by `stems`.

    `a.jpg`, `A.png` and `a.png.jpg` are one family: which stem each gets depends on the others.
    """
    stem = name.casefold()
    while True:
        shorter = stem.rstrip("_")
        ending = next((e for e in IMAGE_EXTENSIONS if shorter.endswith(e)), "")
        shorter = shorter.removesuffix(ending)
        if shorter == stem:
            return stem
        stem = shorter


def _decode(
    source: Path | io.BytesIO, path: Path | str, most_megapixels: float = MAX_MEGAPIXELS
) -> np.ndarray:
    """Decode a picture; `path` is its name in messages."""
    with _opened(source, path, most_megapixels) as opened:
        orientation = _orientation(opened)
        image = _to_rgb(opened)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return np.array(image)


@contextmanager
def _opened(
    source: Path | io.BytesIO, path: Path | str, most_megapixels: float
) -> Iterator[Image.Image]:
    """A picture whose head has been read; what goes wrong with it, then or within, is said."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large sizes, for which there is our own limit, and of damaged EXIF
            # blocks, which a picture may have.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(source, formats=_FORMATS) as opened:
                _check_size(path, opened.size, most_megapixels)
                yield opened
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has more than {most_megapixels:g} megapixels; make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        if kind := heif_kind(_head_of(source)):
            raise InputError(f"{path} {heif_refusal(kind)}") from error
        raise InputError(
            f"{path} is not a JPEG, PNG, WebP or BMP picture, whatever its name says; "
            "convert it or take it away"
        ) from error
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, zlib.error...)
        # for damaged content; all mean the same to the user.
        raise InputError(f"{path} is damaged or incomplete ({error}); replace the file") from error


def _head_of(source: Path | io.BytesIO) -> bytes:
    """The first bytes of a file, or of its content."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:16]
    with source.open("rb") as file:
        return file.read(16)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a picture")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes); replace the file")


def _check_size(path: Path | str, size: tuple[int, int], most_megapixels: float) -> None:
    width, height = size
    if width * height > most_megapixels * 1e6:
        raise InputError(
            f"{path} is {width} x {height} pixels; more than {most_megapixels:g} megapixels are "
            "not read, make it smaller"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise InputError(
            f"{path} is {width} x {height} pixels, too small to show a face; each side needs at "
            f"least {MIN_SIDE_PX}"
        )


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block says nothing, but the picture may be whole
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as 8-bit RGB."""
    if image.mode in _SIXTEEN_BIT_MODES:
        # Pillow's own conversion clips at 255 in place of scaling.
        values = np.asarray(image).astype(np.float32)
        grey = np.clip(np.rint(values / 257), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        return Image.alpha_composite(white, colour).convert("RGB")
    return image.convert("RGB")
