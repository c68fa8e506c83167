"""What may be a video, told without a decoder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from data.video_kind import VIDEO_ENDINGS, check_video_file, is_video_name
from util.errors import InputError

MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(600)


def pictures(path: Path, count: int, kind: str) -> Path:
    """A file of one picture or several."""
    frames = [Image.new("RGB", (40, 30), (40 * k, 90, 10)) for k in range(count)]
    more = {"save_all": True, "append_images": frames[1:]} if count > 1 else {}
    frames[0].save(path, kind, **more)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "b.MOV", "c d.WebM", "e.tar.mkv", "gone/f.gif"])
def test_names_of_videos(tmp_path: Path, name: str):
    assert is_video_name(tmp_path / name), "whether the file is there or not"


@pytest.mark.parametrize("name", ["a.jpg", "mp4", ".mp4", "a.mp4.txt", "photos"])
def test_names_of_others(tmp_path: Path, name: str):
    assert not is_video_name(tmp_path / name)


def test_a_gif_is_a_video_if_it_moves(tmp_path: Path):
    assert is_video_name(pictures(tmp_path / "moving.gif", 3, "GIF"))
    assert not is_video_name(pictures(tmp_path / "still.GIF", 1, "GIF"))
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    assert is_video_name(tmp_path / "broken.gif")


def test_a_folder_that_is_called_like_a_video_is_none(tmp_path: Path):
    for ending in VIDEO_ENDINGS:
        (tmp_path / f"frames{ending}").mkdir()
        assert not is_video_name(tmp_path / f"frames{ending}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", MP4),
        ("no_ending", MP4),
        ("a.jpg", MP4),
        ("a.mkv", b"\x1a\x45\xdf\xa3" + bytes(600)),
        ("short.avi", b"RIFF\0\0\0\0AVI "),
        ("unknown.xyz", bytes(range(256))),
    ],
)
def test_what_may_be_one_is_left_to_the_decoder(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    check_video_file(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n", "is text.*of a playlist, the file that it"),
        (b"#EXTM3U\n\x00\xff", "is text.*of a playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is text"),
        ("ein Text über nichts\n".encode(), "is text, not a video, whatever its name says"),
        ("\ufeffmarked".encode(), "is text"),
        # The last letter that is looked at is cut in two.
        (b"x" * 511 + "ü".encode(), "is text"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", r"is no video but a web page \(HTML\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no video but .*Git LFS"),
    ],
)
def test_text_is_named_for_what_it_is(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "talk.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path} {message}"):
        check_video_file(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_a_single_picture_is_none_whatever_it_is_called(tmp_path: Path, kind: str):
    path = pictures(tmp_path / "talk.mp4", 1, kind)
    with pytest.raises(InputError, match=f"^{path} is a single picture.*give it as a photo"):
        check_video_file(path)


def test_pictures_in_the_container_of_videos_are_named(tmp_path: Path):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(InputError, match=f"^{path} is a picture of the kind HEIC.*as a photo"):
        check_video_file(path)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_moving_pictures_are_videos(tmp_path: Path, kind: str):
    check_video_file(pictures(tmp_path / f"moving.{kind.lower()}", 3, kind))


@pytest.mark.parametrize("ending", [".mjpeg", ".MJPG"])
def test_pictures_in_a_row_begin_as_one(tmp_path: Path, ending: str):
    check_video_file(pictures(tmp_path / f"row{ending}", 1, "JPEG"))


def test_what_is_no_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.mp4 does not exist; give a video file"):
        check_video_file(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="is a folder, not a video; give one video file"):
        check_video_file(tmp_path)
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(place))  # absolute ones may be longer than sockets' can be
        with pytest.raises(InputError, match="is no file; give a video file"):
            check_video_file(place)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_what_may_not_be_read(tmp_path: Path):
    path = tmp_path / "talk.mp4"
    path.write_bytes(MP4)
    path.chmod(0)
    with pytest.raises(InputError, match=f"^{path} cannot be read: Permission denied"):
        check_video_file(path)


def test_it_needs_no_decoder(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from data.video_kind import check_video_file;"
        "check_video_file(Path(sys.argv[1])); print(sorted({'av', 'torch'} & set(sys.modules)))"
    )
    path = tmp_path / "talk.mp4"
    path.write_bytes(MP4)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
