"""Read and write the strengths of named expression units over time, as face-capture programs do.

Two kinds of csv, told apart by their header, whose names may begin with a capital:

    Timecode,BlendshapeCount,EyeBlinkLeft,...,TongueOut,HeadYaw,HeadPitch,HeadRoll,...
    14:03:52:28.207,61,0.0123,...                       Live Link Face; hours:minutes:seconds:frames

    time,jawOpen,mouthSmileLeft                         time in seconds, or frame, or neither
    0.00,0.1,0.3
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from util.atomic import write_text
from util.errors import InputError
from util.text import decode_text

USUAL_RATE_HZ = 30.0
"""Of files that say nothing of time."""
TIMECODE_RATE_HZ = 60
"""What the app counts frames by unless it is told otherwise; ours are written so too."""
_RATES_HZ = (24, 25, 30, 48, 50, 60, 90, 100, 120, 240)
_TIMECODE, _COUNT, _FRAME = "timecode", "blendshapecount", "frame"
_TIME_COLUMNS = {"time": 1.0, "time_s": 1.0, "seconds": 1.0, "timestamp": 1.0, "time_ms": 1e-3}
"""Lower-case names of columns with times -> seconds of one of their units."""
_HEAD = ("HeadYaw", "HeadPitch", "HeadRoll")
_EYES = tuple(
    f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll")
)
_SIDES = ("Left", "Right")
ARKIT_UNITS = (
    *(
        f"{name}{side}"
        for side in _SIDES
        for name in (
            *("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp"),
            *("eyeSquint", "eyeWide"),
        )
    ),
    *("jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker"),
    *("mouthRight", "mouthLeft"),
    *(f"mouth{name}{side}" for name in ("Smile", "Frown", "Dimple", "Stretch") for side in _SIDES),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *(f"mouth{name}{side}" for name in ("Press", "LowerDown", "UpperUp") for side in _SIDES),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight"),
    "tongueOut",
)
"""ARKit's units in the order of the app's columns."""
_REMEDY = "the first line must name the units, as Timecode,BlendshapeCount,EyeBlinkLeft,... does"


@dataclass(frozen=True)
class UnitMotion:
    """Units over N frames, as a file has them."""

    times_s: np.ndarray
    """(N,) rising."""
    strengths: np.ndarray
    """(N, units) in [0, 1], in the order of the names that were asked for."""
    head: np.ndarray | None
    """(N, 3) the file's HeadYaw, HeadPitch and HeadRoll, in its own unit; None without them."""
    notices: tuple[str, ...]
    """What a user should know, a sentence each."""


def read_units(path: Path, names: Sequence[str], rate_hz: float = 0.0) -> UnitMotion:
    """Read a csv of either kind.

    Units that the file lacks are 0, columns that nothing here knows are left out, strengths outside
    of [0, 1] clipped: `notices` say so. Rows without values, as an app writes where it lost the
    face, are left out.

    Args:
        path: the file.
        names: of the face model's units.
        rate_hz: rows are so far apart, whatever times the file has; 0 takes its times, and
            `USUAL_RATE_HZ` where it has none.

    Raises:
        InputError: no such file, no units in it, a cell that is no number, times that do not rise;
            the message names the line.
    """
    header, rows = _table(path)
    columns = {name.strip().lower(): number for number, name in enumerate(header)}
    wanted = {name: columns[name.lower()] for name in names if name.lower() in columns}
    if not wanted:
        raise InputError(
            f"{path}: none of its columns ({', '.join(header[:4])}, ..) is a unit of the face "
            f"model ({', '.join(names[:3])}, ..); {_REMEDY}"
        )
    values = [cells for line, cells in rows if not _is_lost(cells, columns, wanted)]
    lines = [line for line, cells in rows if not _is_lost(cells, columns, wanted)]
    if not values:
        raise InputError(f"{path} has no row with values below its header; record it again")
    lost = len(rows) - len(values)
    found = {name: _numbers(path, lines, values, number, header) for name, number in wanted.items()}
    strengths = np.zeros((len(values), len(names)))
    for number, name in enumerate(names):
        if name in found:
            strengths[:, number] = found[name]
    head = None
    if all(name.lower() in columns for name in _HEAD):
        each = [_numbers(path, lines, values, columns[name.lower()], header) for name in _HEAD]
        head = np.stack(each, axis=1)
    times_s, own_times = _times(path, lines, values, columns, header, rate_hz)
    notices = _notices(header, names, strengths, columns)
    if lost:
        notices.append(f"{lost} rows without values are left out")
    if not own_times and not rate_hz:
        notices.append(f"it has no times; rows are taken as {USUAL_RATE_HZ:g} a second (--fps)")
    told = tuple(f"{path}: {notice}" for notice in notices)
    return UnitMotion(times_s, strengths.clip(0, 1), head, told)


def write_units(
    path: Path,
    names: Sequence[str],
    times_s: np.ndarray,
    strengths: np.ndarray,
    head: np.ndarray | None = None,
) -> None:
    """Write a csv: as Live Link Face does where all units are ARKit's, else the plain kind.

    Args:
        path: the file.
        names: of the units.
        times_s: (N,) rising; the file begins at 0.
        strengths: (N, units).
        head: (N, 3) yaw, pitch and roll in radians.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    for what, array in (("times_s", times_s), ("strengths", strengths), ("head", head)):
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"{path.name}: {what} holds non-finite numbers")
    seconds = np.asarray(times_s, np.float64) - float(times_s[0])
    by_name = {name: strengths[:, number] for number, name in enumerate(names)}
    nothing = np.zeros(len(seconds))
    turns: dict[str, np.ndarray] = {}
    if head is not None:
        turns |= zip(_HEAD, head.T, strict=True)
    if set(names) <= set(ARKIT_UNITS):
        units = {_capitalised(name): by_name.get(name, nothing) for name in ARKIT_UNITS}
        columns = units | {name: turns.get(name, nothing) for name in (*_HEAD, *_EYES)}
        header = ["Timecode", "BlendshapeCount", *columns]
        begins = [[_timecode(second), str(len(columns))] for second in seconds.tolist()]
    else:
        columns = by_name | turns
        header = ["time", *columns]
        begins = [[f"{second:.6f}"] for second in seconds.tolist()]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for begin, row in zip(begins, np.stack(list(columns.values()), axis=1), strict=True):
        writer.writerow([*begin, *(f"{value:.6f}" for value in row.tolist())])
    write_text(path, buffer.getvalue())


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and the other rows with their line numbers; blank lines are left out."""
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); give a csv of units"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; give a csv of units") from error
    first = text.lstrip().partition("\n")[0]
    mark = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=mark, strict=True)
        lines = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise InputError(f"{path} is no csv ({error}); give a csv of units") from error
    if not lines or mark not in first:
        raise InputError(f"{path} is no csv of units; {_REMEDY}")
    (_, header), rows = lines[0], lines[1:]
    for line, cells in rows:
        if len(cells) > len(header) and any(c.strip() for c in cells[len(header) :]):
            raise InputError(
                f"{path}, line {line}: {len(cells)} cells under {len(header)} names; if numbers "
                "have a decimal comma, export them with a point"
            )
    return header, rows


def _is_lost(cells: list[str], columns: dict[str, int], wanted: dict[str, int]) -> bool:
    """Whether a row says that there was no face."""
    count = columns.get(_COUNT)
    if count is not None and count < len(cells) and cells[count].strip() == "0":
        return True
    return all(number >= len(cells) or not cells[number].strip() for number in wanted.values())


def _numbers(
    path: Path, lines: list[int], rows: list[list[str]], column: int, header: list[str]
) -> np.ndarray:
    """A column as float64; empty cells are 0."""
    numbers = []
    for line, cells in zip(lines, rows, strict=True):
        text = cells[column].strip() if column < len(cells) else ""
        try:
            number = float(text) if text else 0.0
        except ValueError as error:
            comma = re.fullmatch(r"-?\d*,\d+", text)
            hint = "a decimal comma; export numbers with a point" if comma else "no number"
            raise InputError(
                f"{path}, line {line}, {header[column].strip()}: {text!r} is {hint}"
            ) from error
        if not math.isfinite(number):
            raise InputError(f"{path}, line {line}, {header[column].strip()}: {text} is not finite")
        numbers.append(number)
    return np.array(numbers)


def _times(
    path: Path,
    lines: list[int],
    rows: list[list[str]],
    columns: dict[str, int],
    header: list[str],
    rate_hz: float,
) -> tuple[np.ndarray, bool]:
    """Seconds of the rows, and whether the file has them."""
    named = next((name for name in _TIME_COLUMNS if name in columns), None)
    has_times = not rate_hz and (_TIMECODE in columns or named is not None)
    if not has_times and _FRAME not in columns:
        return np.arange(len(rows)) / (rate_hz or USUAL_RATE_HZ), False
    if not has_times:
        frames = _numbers(path, lines, rows, columns[_FRAME], header)
        times = frames / (rate_hz or USUAL_RATE_HZ)
    elif _TIMECODE in columns:
        texts = [cells[columns[_TIMECODE]].strip() for cells in rows]
        times = _seconds(path, lines, texts)
    else:
        assert named is not None
        numbers = _numbers(path, lines, rows, columns[named], header)
        times = numbers * _TIME_COLUMNS[named]
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        raise InputError(
            f"{path}, line {lines[int(back[0]) + 1]}: its time is not after that of the row "
            "before; sort the rows, or give --fps, which takes them as evenly spaced"
        )
    return times - times[0], has_times


def _seconds(path: Path, lines: list[int], texts: list[str]) -> np.ndarray:
    """Timecodes hours:minutes:seconds:frames as seconds; the night may change the date.

    The file does not say how many frames a second has: the smallest usual number above all that it
    counts, where it goes over the end of a second.
    """
    parts = []
    for line, text in zip(lines, texts, strict=True):
        found = re.fullmatch(r"(\d+)[:;](\d+)[:;](\d+)[:;.](\d+(?:\.\d+)?)", text)
        if found is None:
            raise InputError(
                f"{path}, line {line}, Timecode: {text!r} is not hours:minutes:seconds:frames; "
                "correct it, or give --fps"
            )
        parts.append([float(part) for part in found.groups()])
    hours, minutes, seconds, frames = np.array(parts).T
    whole = 3600 * hours + 60 * minutes + seconds
    whole += 86400 * np.cumsum(np.diff(whole, prepend=whole[0]) < -43200)
    above = [rate for rate in _RATES_HZ if rate > frames.max()]
    if not above:
        raise InputError(f"{path}: {frames.max():g} frames in a second are too many; give --fps")
    spans = len(np.unique(whole)) > 1
    rate = above[0] if spans else max(above[0], TIMECODE_RATE_HZ)
    return whole + frames / rate


def _notices(
    header: list[str], names: Sequence[str], strengths: np.ndarray, columns: dict[str, int]
) -> list[str]:
    known = {name.lower() for name in (*names, *_HEAD, *_EYES, *_TIME_COLUMNS)}
    known |= {_TIMECODE, _COUNT, _FRAME, ""}
    unknown = [name.strip() for name in header if name.strip().lower() not in known]
    notices = []
    if unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        notices.append(f"columns that are no units are left out: {', '.join(unknown[:8])}{more}")
    missing = [name for name in names if name.lower() not in columns]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        notices.append(f"units that it does not have stay 0: {', '.join(missing[:8])}{more}")
    outside = (strengths < 0) | (strengths > 1)
    if outside.any():
        which = [name for name, column in zip(names, outside.T, strict=True) if column.any()]
        more = ", .." if len(which) > 8 else ""
        notices.append(
            f"{int(outside.sum())} strengths outside of [0, 1] ({strengths.min():.3g} to "
            f"{strengths.max():.3g}) are clipped: {', '.join(which[:8])}{more}"
        )
    return notices


def _timecode(seconds: float) -> str:
    """Hours:minutes:seconds:frames, with thousandths of a frame."""
    thousandths = round(seconds * TIMECODE_RATE_HZ * 1000)
    whole, rest = divmod(thousandths, TIMECODE_RATE_HZ * 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}:{rest / 1000:06.3f}"


def _capitalised(name: str) -> str:
    return name[:1].upper() + name[1:]
