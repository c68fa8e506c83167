"""Named units over time: both kinds of csv, what is wrong with them, and what is written."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

import numpy as np
import pytest

from util.animation.units_file import ARKIT_UNITS, UnitMotion, read_units, write_units
from util.errors import InputError

NAMES = ("jawOpen", "eyeBlinkLeft", "tongueOut")


def written(folder: Path, text: str | bytes, name: str = "take.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def live_link(*rows: str) -> str:
    header = ["Timecode", "BlendshapeCount", "EyeBlinkLeft", "JawOpen", "HeadYaw", "HeadPitch"]
    return "\r\n".join([",".join([*header, "HeadRoll"]), *rows, ""])


TAKE = live_link(
    "14:03:52:58.500,61,0.25,0.5,0.1,-0.2,0.3",
    "14:03:52:59.500,61,0.5,0.75,0.2,-0.3,0.4",
    "14:03:53:01.500,61,0.75,1,0.3,-0.4,0.5",
)


def test_a_take_of_the_app_is_read_by_name(tmp_path: Path):
    """With its CRLF, names with capitals, 60 frames a second; one frame was dropped."""
    found = read_units(written(tmp_path, TAKE), NAMES)
    np.testing.assert_allclose(found.times_s, [0, 1 / 60, 3 / 60], atol=1e-9)
    np.testing.assert_array_equal(found.strengths, [[0.5, 0.25, 0], [0.75, 0.5, 0], [1, 0.75, 0]])
    assert found.head is not None
    np.testing.assert_array_equal(
        found.head, [[0.1, -0.2, 0.3], [0.2, -0.3, 0.4], [0.3, -0.4, 0.5]]
    )
    assert found.notices == (
        f"{tmp_path / 'take.csv'}: units that it does not have stay 0: tongueOut",
    )


@pytest.mark.parametrize(
    ("last", "rate"), [(23, 24), (24, 25), (29.97, 30), (47, 48), (59.999, 60), (60, 90)]
)
def test_the_rate_is_the_smallest_above_the_frames_that_are_counted(
    tmp_path: Path, last: float, rate: int
):
    text = live_link(f"0:0:1:{last},61,0,0,0,0,0", "0:0:2:0,61,0,0,0,0,0")
    found = read_units(written(tmp_path, text), NAMES)
    np.testing.assert_allclose(found.times_s, [0, 1 - last / rate], atol=1e-9)


def test_a_take_below_a_second_is_the_apps_usual_60(tmp_path: Path):
    text = live_link("0:0:1:3,61,0,0,0,0,0", "0:0:1:6,61,0,0,0,0,0")
    np.testing.assert_allclose(read_units(written(tmp_path, text), NAMES).times_s, [0, 0.05])


def test_midnight_is_no_step_back(tmp_path: Path):
    text = live_link("23:59:59:59,61,0,0,0,0,0", "00:00:00:00,61,0,0,0,0,0")
    np.testing.assert_allclose(read_units(written(tmp_path, text), NAMES).times_s, [0, 1 / 60])


def test_rows_of_a_lost_face_are_left_out(tmp_path: Path):
    """The app writes a count of 0 then, or nothing behind the count."""
    rows = TAKE.splitlines()
    rows[2] = "14:03:52:59.500,0"
    found = read_units(written(tmp_path, "\n".join(rows)), NAMES)
    np.testing.assert_allclose(found.times_s, [0, 3 / 60], atol=1e-9)
    assert any("1 rows without values" in notice for notice in found.notices)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("time,jawOpen\n1.5,0\n1.75,1\n", [0, 0.25]),
        ("time_ms,jawOpen\n100,0\n350,1\n", [0, 0.25]),
        ("frame,jawOpen\n10,0\n12,1\n", [0, 2 / 30]),
        ("jawOpen\tother\n0\t3\n1\t4\n", [0, 1 / 30]),
        ("Time; JawOpen \r\n0.0; 0\r\n\r\n0.5; 1\r\n", [0, 0.5]),
    ],
)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "BOM"])
def test_plain_files_say_their_times_or_have_none(
    tmp_path: Path, text: str, times: list[float], mark: bytes
):
    found = read_units(written(tmp_path, mark + text.encode()), NAMES)
    np.testing.assert_allclose(found.times_s, times)
    np.testing.assert_array_equal(found.strengths[:, 0], [0, 1])
    assert found.head is None


def test_a_given_rate_comes_before_all_times(tmp_path: Path):
    path = written(tmp_path, "time,jawOpen\n3,0\n1,1\n")
    np.testing.assert_allclose(read_units(path, NAMES, 25).times_s, [0, 0.04])
    path = written(tmp_path, "frame,jawOpen\n3,0\n5,1\n")
    np.testing.assert_allclose(read_units(path, NAMES, 25).times_s, [0, 0.08])


def test_utf_16_as_spreadsheets_export_it(tmp_path: Path):
    path = written(tmp_path, "time\tjawOpen\n0\t0.5\n".encode("utf-16"))
    assert read_units(path, NAMES).strengths[0, 0] == 0.5


def test_what_is_unknown_is_told_once_and_what_is_outside_clipped(tmp_path: Path):
    path = written(tmp_path, "jawOpen,smile,eyeBlinkLeft,LeftEyeYaw\n1.5,1,-0.25,3\n0.5,1,0,3\n")
    found = read_units(path, NAMES)
    np.testing.assert_array_equal(found.strengths, [[1, 0, 0], [0.5, 0, 0]])
    told = " | ".join(found.notices)
    assert "columns that are no units are left out: smile |" in told
    assert "2 strengths outside of [0, 1] (-0.25 to 1.5) are clipped: jawOpen, eyeBlinkLeft" in told
    assert "no times; rows are taken as 30 a second (--fps)" in told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no csv of units"),
        ("jawOpen\n0.5\n", "no csv of units"),
        ("a,b\n1,2\n", r"none of its columns \(a, b, ..\) is a unit"),
        ("time,jawOpen\n", "no row with values"),
        ("time,jawOpen\n0,half\n", "line 2, jawOpen: 'half' is no number"),
        ("time,jawOpen\n0,nan\n", "line 2, jawOpen: nan is not finite"),
        ("time,jawOpen\n0,0\n\n0,1\n", "line 4: its time is not after"),
        ("time;jawOpen\n0;0,5\n", "line 2, jawOpen: '0,5' is a decimal comma"),
        ("time,jawOpen\n0,0,0,5\n", "line 2: 4 cells under 2 names; .* decimal comma"),
        ('time,jawOpen\n0,"0,5"\n', "'0,5' is a decimal comma"),
        (live_link("14:03:52,61,0,0,0,0,0"), "'14:03:52' is not hours:minutes:seconds:frames"),
        (live_link("0:0:0:999,61,0,0,0,0,0"), "999 frames in a second"),
        (b"\xff\xd8\xff\xe0 a photo", "no text"),
        ('time,jawOpen\n0,"0\n', "no csv"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str | bytes, problem: str):
    with pytest.raises(InputError, match=problem) as caught:
        read_units(written(tmp_path, text), NAMES)
    assert "take.csv" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"take\.csv cannot be read"):
        read_units(tmp_path / "take.csv", NAMES)


def test_what_is_written_is_read_back(tmp_path: Path):
    """All 61 columns in the app's order; times to a thousandth of a frame."""
    numbers = np.random.default_rng(0)
    times = 7 + np.cumsum(numbers.uniform(0.02, 0.1, 40))
    strengths, head = numbers.uniform(0, 1, (40, 52)), numbers.normal(size=(40, 3))
    order = numbers.permutation(52).tolist()
    names = tuple(ARKIT_UNITS[number] for number in order)
    path = tmp_path / "take.csv"
    write_units(path, names, times, strengths, head)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:4] == ["Timecode", "BlendshapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
    assert header[53:57] == ["TongueOut", "HeadYaw", "HeadPitch", "HeadRoll"]
    assert len(header) == 63 and {row[1] for row in rows} == {"61"}
    assert rows[0][0] == "00:00:00:00.000"
    found = read_units(path, names)
    assert found.notices == () and found.head is not None
    np.testing.assert_allclose(found.times_s, times - times[0], atol=1e-5)
    np.testing.assert_allclose(found.strengths, strengths, atol=1e-6)
    np.testing.assert_allclose(found.head, head, atol=1e-6)


def test_units_of_other_names_are_written_plainly(tmp_path: Path):
    path = tmp_path / "take.csv"
    write_units(path, ("smile", "jawOpen"), np.array([3.0, 3.25]), np.array([[0, 0.5], [1, 0]]))
    assert path.read_text(encoding="utf-8") == (
        "time,smile,jawOpen\n0.000000,0.000000,0.500000\n0.250000,1.000000,0.000000\n"
    )
    found: UnitMotion = read_units(path, ("smile", "jawOpen"))
    np.testing.assert_array_equal(found.strengths, [[0, 0.5], [1, 0]])


@pytest.mark.parametrize("broken", ["times_s", "strengths", "head"])
def test_non_finite_numbers_are_named_and_nothing_is_written(tmp_path: Path, broken: str):
    arrays = {"times_s": np.zeros(1), "strengths": np.zeros((1, 1)), "head": np.zeros((1, 3))}
    arrays[broken].reshape(-1)[0] = np.nan
    with pytest.raises(ValueError, match=rf"take.csv: {broken} holds"):
        write_units(tmp_path / "take.csv", ("jawOpen",), **arrays)
    assert not list(tmp_path.iterdir())
