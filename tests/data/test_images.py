"""Every way in which users' pictures come, and every way in which they are broken."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images import (
    MAX_MEGAPIXELS,
    find_folder,
    list_images,
    read_image,
    read_mask,
    stems,
    write_image,
)
from util.errors import InputError


def png_claiming(width: int, height: int) -> bytes:
    """A valid PNG header of any size, without the pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "ä ö 顔.Png", "a.bmp", "a.webp"])
def test_lossless_files_come_back_as_they_were(tmp_path: Path, picture, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(picture).save(path, lossless=True)  # which only WebP looks at
    np.testing.assert_array_equal(read_image(path), picture)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_lossy_files_come_back_nearly(tmp_path: Path, picture, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(picture).save(path, quality=95)
    assert np.abs(read_image(path).astype(int) - picture).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, picture, orientation: int) -> None:
    # How a camera stores the upright picture for each orientation value (EXIF 2.3, 4.6.4).
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), picture)


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path, picture) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert read_image(path).shape == picture.shape


def test_grey_and_one_bit(tmp_path: Path, picture) -> None:
    grey = picture[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.stack([grey] * 3, -1))
    bits = grey > 100
    Image.fromarray(bits).save(tmp_path / "bits.png")
    expected = np.where(bits, 255, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[..., 1], expected)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read[..., 2], np.rint(values / 257).astype(np.uint8))
    assert read.max() == 255
    assert len(np.unique(read)) == 256


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    # Pillow cannot write it: 16-bit RGB, one row filter byte and big-endian samples per row.
    colour = (85 * np.arange(16 * 16 * 3)).reshape(16, 16, 3).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colour)
    header = png_claiming(16, 16)[:16] + struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    data = zlib.compress(rows)
    content = header + struct.pack(">I", zlib.crc32(header[12:]))
    for kind, body in ((b"IDAT", data), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + kind + body
        content += struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "a.png").write_bytes(content)
    read = read_image(tmp_path / "a.png").astype(int)
    assert np.abs(read - colour.astype(int) / 257).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[:, 10:] = 255
    alpha[:10, :5] = 128
    colour = np.full((20, 20, 3), 40, np.uint8)
    image = Image.fromarray(np.dstack([colour, alpha]))
    if mode == "PA":
        image = image.quantize(16)  # a palette with transparent entries
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png").astype(int)
    assert (read[12:, :5] == 255).all()
    assert (read[:, 10:] == 40).all()
    assert np.abs(read[:10, :5] - (40 * 128 + 255 * 127) / 255).max() <= 2


def test_palette_with_one_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.paste(0, (0, 0, 5, 5))
    image.save(tmp_path / "a.png", transparency=0)
    read = read_image(tmp_path / "a.png")
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[10, 10].tolist() == [10, 20, 30]


def test_cmyk(tmp_path: Path) -> None:
    flat = np.zeros((32, 32, 3), np.uint8)
    flat[:] = (200, 100, 50)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.mode == "CMYK"
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - flat).max() <= 4


def test_twenty_thousand_pixels_wide_is_read(tmp_path: Path) -> None:
    wide = np.zeros((20, 20000, 3), np.uint8)
    wide[:, 10000:] = 255
    write_image(tmp_path / "a.png", wide)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), wide)


def test_pixel_limits_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    for width, height in ((20000, 20000), (20000, 8800), (2**31 - 1, 2**31 - 1)):
        path.write_bytes(png_claiming(width, height))
        with pytest.raises(InputError, match=rf"bomb\.png.*{MAX_MEGAPIXELS} megapixels"):
            read_image(path)


def test_between_pillows_warning_and_our_limit_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_claiming(12000, 10000))
    # No pixels follow the header: what fails is the decoding, not the size.
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello, I am a text\n" * 20, "not a JPEG, PNG, WebP or BMP"),
        (b"<html><body>404</body></html>", "not a JPEG, PNG, WebP or BMP"),
        (png_claiming(100, 100), "damaged or incomplete"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1",
            "is a picture of the kind HEIC.*save it as JPEG or PNG",
        ),
        (b"\0\0\0\x1cftypavif\0\0\0\0avif", "is a picture of the kind AVIF"),
    ],
)
def test_files_that_are_no_pictures(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad photo.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_image(path)
    assert "bad photo.png" in str(error.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_files(tmp_path: Path, picture, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"a\.\w+ is"):
        read_image(path)


def test_one_pixel_is_no_photo(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(InputError, match=r"dot\.png is 1 x 1 pixels"):
        read_image(tmp_path / "dot.png")


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.png cannot be read"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


def test_masks_are_one_channel(tmp_path: Path, picture) -> None:
    write_image(tmp_path / "grey.png", picture[..., 0])
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), picture[..., 0])
    write_image(tmp_path / "three.png", np.stack([picture[..., 0]] * 3, -1))
    np.testing.assert_array_equal(read_mask(tmp_path / "three.png"), picture[..., 0])


def test_write_image_is_atomic(tmp_path: Path, picture, monkeypatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, picture)
    before = path.read_bytes()

    def fail(self, file, **settings):
        file.write(b"half a pic")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_image(path, picture[::-1])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_write_image_refuses_what_it_cannot_keep(tmp_path: Path, picture) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", picture / 255)
    with pytest.raises(ValueError, match=r"\.png"):
        write_image(tmp_path / "a.gif", picture)


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.webp", "._a.png", "notes.txt", "mask.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a.png", "b.JPG", "c.webp", "mask.png"]
    assert list_images(f"{tmp_path}/") == list_images(tmp_path)
    assert list_images(tmp_path / "b.JPG") == [tmp_path / "b.JPG"]


def test_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no pictures"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="not a picture"):
        list_images(tmp_path / "a.txt")


def test_stems_are_unique_and_keep_the_order_given() -> None:
    paths = [Path(n) for n in ("a.png", "b.jpg", "a.jpg", "a.png.jpg", "A.bmp", "c.d.jpg")]
    names = dict(zip(paths, stems(paths), strict=True))
    assert names[Path("b.jpg")] == "b"
    assert names[Path("c.d.jpg")] == "c.d"
    # Sorted: A.bmp, a.jpg, a.png, a.png.jpg.
    assert names[Path("A.bmp")] == "A"
    assert names[Path("a.jpg")] == "a.jpg"
    assert names[Path("a.png")] == "a.png"
    assert names[Path("a.png.jpg")] == "a.png.jpg"
    assert len({name.casefold() for name in names.values()}) == len(paths)


def test_two_pictures_with_one_stem() -> None:
    assert stems([Path("x/a.jpg"), Path("x/a.png")]) == ["a", "a.png"]


def test_read_image_never_leaves_files_open(tmp_path: Path, picture) -> None:
    # Windows cannot delete an open file; an unclosed one is a ResourceWarning elsewhere.
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(buffer.getvalue()[:-30])
    with pytest.raises(InputError):
        read_image(path)
    path.unlink()


def test_a_folder_under_the_root_comes_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    root = Path("datasets")
    assert find_folder("a", root) == Path("a")
    (root / "a").mkdir(parents=True)
    assert find_folder("a/", root) == root / "a"
    (root / "b.png").write_bytes(b"")
    assert find_folder("b.png", root) == root / "b.png"
    assert find_folder(str(tmp_path / "a"), root) == tmp_path / "a"
    with pytest.raises(InputError, match=r"--img_folder c does not exist .*datasets.c and c\)"):
        find_folder("c", root)


def test_a_caller_may_set_a_lower_limit(tmp_path: Path):
    path = tmp_path / "a.png"
    write_image(path, np.zeros((100, 200, 3), np.uint8))
    assert read_image(path, 0.02).shape == (100, 200, 3)
    with pytest.raises(
        InputError, match=r"a\.png is 200 x 100 pixels; more than 0\.019 megapixels"
    ):
        read_image(path, 0.019)
