"""The MATLAB reader against SciPy's writer, hand-made files, and damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from util.errors import InputError
from util.model_files.mat_file import foreign_data, mat_shapes, read_mat

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "tall": RANDOM.normal(size=(501, 7)).astype(np.float32),
    "wide": RANDOM.normal(size=(3, 400)),
    "one": np.array([[3.25]]),
    "none": np.zeros((0, 3)),
    "cube": RANDOM.normal(size=(4, 3, 2)),
    **{
        name: RANDOM.integers(0, 100, (5, 3)).astype(name)
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    },
}


def save(path: Path, compressed: bool = False) -> Path:
    others = {"words": "hello", "z": np.array([[1 + 2j]])}
    savemat(path, {**ARRAYS, **others}, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_as_they_were_written(tmp_path: Path, compressed: bool):
    path = save(tmp_path / "ä.mat", compressed)
    for name, array in read_mat(path, ARRAYS, "").items():
        np.testing.assert_array_equal(array, ARRAYS[name], strict=True)
        assert array.flags.writeable
    assert mat_shapes(path, "") == {
        **{name: array.shape for name, array in ARRAYS.items()},
        "words": (1, 5),
        "z": (1, 1),
    }


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("columns", [1, 4, 7, 100])
def test_first_columns(tmp_path: Path, compressed: bool, columns: int):
    path = save(tmp_path / "a.mat", compressed)
    (array,) = read_mat(path, ["tall"], "", columns=columns).values()
    np.testing.assert_array_equal(array, ARRAYS["tall"][:, :columns])


def element(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}2I", kind, len(content)) + content + bytes(-len(content) % 8)


def hand_made(order: str, *, compressed: bool = False, size: int = 6) -> bytes:
    """A double array (2, 3) that MATLAB stored as bytes, named x in a small element."""
    flags = element(order, 6, struct.pack(f"{order}2I", 6, 0))
    shape = element(order, 5, struct.pack(f"{order}2i", 2, 3))
    name = struct.pack(f"{order}I", 1 << 16 | 1) + b"x\0\0\0"
    numbers = struct.pack(f"{order}2I", 2, size) + bytes([1, 2, 3, 4, 5, 6, 0, 0])
    array = element(order, 14, flags + shape + name + numbers)
    if compressed:
        array = zlib.compress(array)
        array = struct.pack(f"{order}2I", 15, len(array)) + array
    mark = b"IM" if order == "<" else b"MI"
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark + array


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
def test_both_byte_orders_and_compact_storage(tmp_path: Path, order: str, compressed: bool):
    path = tmp_path / "a.mat"
    path.write_bytes(hand_made(order, compressed=compressed))
    array = read_mat(path, ["x"], "")["x"]
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, [[1, 3, 5], [2, 4, 6]])


def test_numbers_that_contradict_the_dimensions(tmp_path: Path):
    path = tmp_path / "a.mat"
    path.write_bytes(hand_made("<", size=2**31))
    with pytest.raises(InputError, match=r"x has 2147483648 bytes, its dimensions say 6"):
        read_mat(path, ["x"], "")


@pytest.mark.parametrize("name", ["words", "z"])
def test_text_and_complex_numbers_are_no_arrays_of_numbers(tmp_path: Path, name: str):
    path = save(tmp_path / "a.mat")
    with pytest.raises(InputError, match=rf"a\.mat is damaged .*\({name} is no array of real"):
        read_mat(path, [name], "")


def test_cells_are_listed_and_not_read(tmp_path: Path):
    path = tmp_path / "a.mat"
    savemat(path, {"c": np.array([1, "a"], object), "x": 1.0})
    assert set(mat_shapes(path, "")) == {"c", "x"}
    assert read_mat(path, ["x"], "")["x"] == 1
    with pytest.raises(InputError, match="c is no array"):
        read_mat(path, ["c"], "")


def test_a_missing_array_is_named_with_what_there_is(tmp_path: Path):
    path = save(tmp_path / "a.mat")
    with pytest.raises(InputError, match=r"lacks the array lm \(it holds cube, int16.*; take b"):
        read_mat(path, ["tall", "lm"], "take b")


def test_a_file_of_matlab_4_and_missing_files(tmp_path: Path):
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.eye(3)}, format="4")
    with pytest.raises(InputError, match=r"a\.mat is damaged, cut short or no MATLAB file .*; ask"):
        read_mat(path, ["x"], "ask")
    for missing in (tmp_path / "b.mat", tmp_path):
        with pytest.raises(InputError, match="does not exist; ask"):
            read_mat(missing, ["x"], "ask")


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_an_input_error_or_harmless(tmp_path: Path, compressed: bool):
    path = save(tmp_path / "a.mat", compressed)
    whole = path.read_bytes()
    for length in range(0, len(whole), 211):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.mat "):
            read_mat(path, ARRAYS, "")
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for position in generator.integers(120, len(whole), 3):
            damaged[position] = generator.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            read_mat(path, ARRAYS, "")
        except InputError:
            refused += 1
    # Compressed bytes carry a checksum; most others are digits.
    assert refused > (390 if compressed else 20)


def test_right_files_are_not_foreign(tmp_path: Path):
    assert foreign_data(save(tmp_path / "a.mat")) is None
    (tmp_path / "b.bin").write_bytes(b"\x4f\0\0\0" + bytes(1000))
    assert foreign_data(tmp_path / "b.bin") is None
    (tmp_path / "c.txt").write_bytes(b"1.5 2.5\n")
    assert foreign_data(tmp_path / "c.txt") is None
    with pytest.raises(InputError, match="cannot be read"):
        foreign_data(tmp_path)
