"""Read arrays from MATLAB files that users fetched themselves, and say what a wrong one really is.

SciPy writes such files well, but its reader can crash the process on a damaged one, so this module
reads them itself: every length is held against what is left before it is used. Of the format (MAT
level 5, as MATLAB 5 to 7 write it) it knows what face models need, real arrays of numbers:

    128 bytes: text, version, "IM" (little-endian) or "MI"
    elements:  type, size, content; 15 is zlib-compressed and holds one element of type 14
    14, array: flags (class), dimensions, name, numbers column after column: elements again,
               filled up to 8 bytes; up to 4 bytes of content share the 8 bytes of type and size
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from util.errors import InputError
from util.model_files.file_kind import foreign_kind

_FOREIGN = (
    (b"MATLAB 7.3", "a MATLAB 7.3 file (save it again with -v7)"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
)
"""Beside those of `file_kind`: PyTorch's files are zip archives, MATLAB's are not."""

_HEADER = 128
_ARRAY, _COMPRESSED = 14, 15
_NUMBER_CLASSES = range(6, 16)
_NUMBER_TYPES = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
    **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
_LONGEST_NAME, _MOST_DIMENSIONS = 255, 32
_CHUNK = 1 << 20


def foreign_data(path: Path) -> str | None:
    """What was saved under a data file's name by mistake, as `foreign_kind` says it.

    Raises:
        InputError: the file cannot be opened.
    """
    if kind := foreign_kind(path):
        return kind
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "empty"
    return next((kind for magic, kind in _FOREIGN if head.startswith(magic)), None)


def mat_shapes(path: Path, remedy: str, required: Iterable[str] = ()) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a MATLAB file's arrays, without reading their content.

    Args:
        path: MATLAB file of level 5.
        remedy: end of every message: which file is the right one.
        required: arrays that must be there.

    Raises:
        InputError: the file is missing, something else, damaged, or lacks an array.
    """
    return {name: array.shape for name, array in _find(path, remedy, required).items()}


def read_mat(
    path: Path, names: Iterable[str], remedy: str, *, columns: int | None = None
) -> dict[str, np.ndarray]:
    """Read arrays by name, in the types that the file stores them in.

    Args:
        path: MATLAB file of level 5.
        names: all of them must be there; nothing else is read.
        remedy: end of every message: which file is the right one.
        columns: read only the first columns, and nothing of what follows them in the file.

    Raises:
        InputError: as `mat_shapes`; or one is no array of real numbers.
    """
    names = list(names)
    arrays = _find(path, remedy, names)
    try:
        with path.open("rb") as file:
            return {name: _read_numbers(file, arrays[name], columns) for name in names}
    except (_Broken, zlib.error, OSError) as error:
        raise InputError(f"{path} is damaged or cut short ({error}); {remedy}") from error


class _Broken(Exception):
    """The bytes contradict the format."""


@dataclass(frozen=True)
class _Array:
    """An array as its element's beginning describes it."""

    name: str
    shape: tuple[int, ...]
    is_numeric: bool
    position: int
    """Of the element's content in the file."""
    size: int
    compressed: bool
    order: str
    """Byte order, as numpy and struct write it."""


def _find(path: Path, remedy: str, required: Iterable[str]) -> dict[str, _Array]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    if kind := foreign_data(path):
        raise InputError(f"{path} is {kind}; {remedy}")
    try:
        with path.open("rb") as file:
            arrays = {array.name: array for array in _scan(file, path.stat().st_size)}
    except (_Broken, zlib.error, OSError) as error:
        raise InputError(
            f"{path} is damaged, cut short or no MATLAB file ({error}); {remedy}"
        ) from error
    for name in required:
        if name not in arrays:
            found = ", ".join(sorted(arrays)[:6]) or "nothing"
            raise InputError(
                f"{path} lacks the array {name} (it holds {found}): it is another file, or cut "
                f"short; {remedy}"
            )
    return arrays


def _scan(file: BinaryIO, file_size: int) -> Iterator[_Array]:
    """Walk over the elements of a file."""
    header = file.read(_HEADER)
    order = {b"IM": "<", b"MI": ">"}.get(header[126:])
    if order is None or struct.unpack(f"{order}H", header[124:126]) != (0x0100,):
        raise _Broken("its first 128 bytes are not those of MATLAB 5 to 7")
    position = _HEADER
    while position < file_size:
        file.seek(position)
        tag = file.read(8)
        if len(tag) < 8:
            raise _Broken("it ends within an element")
        kind, size = struct.unpack(f"{order}2I", tag)
        position += 8
        if position + size > file_size:
            raise _Broken(f"it ends {position + size - file_size} bytes early")
        if kind in (_ARRAY, _COMPRESSED):
            content = _Content(file, position, size, kind == _COMPRESSED, order)
            yield _read_description(content, position, size, kind == _COMPRESSED)
        position += size


class _Content:
    """The bytes of one array element, one after the other, inflated where they are compressed."""

    def __init__(
        self, file: BinaryIO, position: int, size: int, compressed: bool, order: str
    ) -> None:
        file.seek(position)
        self.order = order
        self._file, self._left = file, size
        self._inflate = zlib.decompressobj() if compressed else None
        self._pending = b""
        if compressed and self._numbers("2I")[0] != _ARRAY:
            raise _Broken("a compressed element is no array")

    def read(self, count: int) -> bytearray:
        """The next `count` bytes; memory grows only with what is really there."""
        result = bytearray()
        while len(result) < count:
            wanted = min(count - len(result), _CHUNK)
            part = self._stored(wanted) if self._inflate is None else self._inflated(wanted)
            if not part:
                raise _Broken("an array ends early")
            result += part
        return result

    def element(self, most: int) -> tuple[int, bytearray]:
        """Type and content of a small element inside."""
        kind, size, inside = self.tag()
        if inside is not None:
            return kind, inside
        if size > most:
            raise _Broken(f"{size} bytes where at most {most} make sense")
        content = self.read(size)
        self.read(-size % 8)
        return kind, content

    def tag(self) -> tuple[int, int, bytearray | None]:
        """Type and size of the next element; its content too, if that shares the same 8 bytes."""
        (first,) = self._numbers("I")
        if small := first >> 16:
            if small > 4:
                raise _Broken(f"a small element of {small} bytes")
            return first & 0xFFFF, small, self.read(4)[:small]
        return first, self._numbers("I")[0], None

    def check_end(self) -> None:
        """Let the checksum of compressed bytes be verified, once all are read."""
        if self._inflate is not None:
            self._inflated(8)
            if not self._inflate.eof:
                raise _Broken("an array is longer than its dimensions say")

    def _numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(self.order + layout, self.read(struct.calcsize(layout)))

    def _stored(self, count: int) -> bytes:
        part = self._file.read(min(count, self._left))
        self._left -= len(part)
        return part

    def _inflated(self, count: int) -> bytes:
        assert self._inflate is not None
        while True:
            compressed = self._pending or self._stored(_CHUNK)
            part = self._inflate.decompress(compressed, count)
            self._pending = self._inflate.unconsumed_tail
            if part or not (compressed or self._pending):
                return part


def _read_description(content: _Content, position: int, size: int, compressed: bool) -> _Array:
    """Class, dimensions and name; the numbers come next."""
    order = content.order
    _, flags = content.element(8)
    _, dimensions = content.element(4 * _MOST_DIMENSIONS)
    _, name = content.element(_LONGEST_NAME)
    if len(flags) != 8 or len(dimensions) % 4:
        raise _Broken("an array without class or dimensions")
    (word,) = struct.unpack_from(f"{order}I", flags)
    is_complex = bool(word & 0x0800)
    return _Array(
        name=name.decode("utf-8", "replace"),
        shape=struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions),
        is_numeric=(word & 0xFF) in _NUMBER_CLASSES and not is_complex,
        position=position,
        size=size,
        compressed=compressed,
        order=order,
    )


def _read_numbers(file: BinaryIO, array: _Array, columns: int | None) -> np.ndarray:
    if not array.is_numeric or len(array.shape) < 2 or min(array.shape) < 0:
        raise _Broken(f"{array.name} is no array of real numbers")
    content = _Content(file, array.position, array.size, array.compressed, array.order)
    _read_description(content, array.position, array.size, array.compressed)
    kind, size, inside = content.tag()
    if kind not in _NUMBER_TYPES:
        raise _Broken(f"{array.name} is stored as the unknown type {kind}")
    dtype = np.dtype(array.order + _NUMBER_TYPES[kind])
    shape, total = array.shape, dtype.itemsize
    for length in shape:  # in Python's integers, which do not overflow
        total *= length
    if total != size:
        raise _Broken(f"{array.name} has {size} bytes, its dimensions say {total}")
    if columns is not None and len(shape) == 2 and columns < shape[1]:
        shape = (shape[0], columns)
        size = shape[0] * columns * dtype.itemsize
    numbers = content.read(size) if inside is None else inside
    if shape == array.shape and inside is None:
        content.read(-size % 8)
        content.check_end()
    native = np.frombuffer(numbers, dtype).astype(dtype.newbyteorder("="), copy=False)
    return native.reshape(shape, order="F")
