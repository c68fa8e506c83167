"""Pickles as data: what is read, and that nothing is executed."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix

from tests.face_files import Chumpy, Python2Pickle
from util.errors import InputError
from util.model_files import safe_pickle
from util.model_files.safe_pickle import Passive, read_npy, read_npz, read_pickle

REMEDY = "take the right one"


def read(tmp_path: Path, content: bytes) -> Any:
    (tmp_path / "a.pkl").write_bytes(content)
    return read_pickle(tmp_path / "a.pkl", REMEDY)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int):
    content = {
        "floats": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "number": np.float32(1.5),
        "objects": np.array([{"a": np.ones(2)}, None], dtype=object),
        "nested": [1, ("a", b"b"), OrderedDict(x=2.0)],
    }
    found = read(tmp_path, pickle.dumps(content, protocol))
    for key in ("floats", "columns"):
        np.testing.assert_array_equal(found[key], content[key])
        assert found[key].dtype == content[key].dtype
    assert found["number"] == 1.5
    assert found["objects"][1] is None and found["objects"][0]["a"].tolist() == [1, 1]
    assert found["nested"] == [1, ("a", b"b"), {"x": 2.0}]


def test_files_of_python_2(tmp_path: Path):
    sparse = csc_matrix(np.diag([1.0, 0, 2]))
    content = {"a": np.arange(4.0), "c": Chumpy(np.eye(2)), "s": sparse, "text": "lrotmin"}
    found = read(tmp_path, Python2Pickle().dumps(content))
    np.testing.assert_array_equal(found["a"], np.arange(4.0))
    assert found["text"] == "lrotmin"
    assert isinstance(found["c"], Passive) and found["c"].origin == "chumpy.ch.Ch"
    np.testing.assert_array_equal(found["c"].entry("x"), np.eye(2))
    assert found["s"].entry("_shape", "shape") == (3, 3)
    assert "chumpy" not in sys.modules


def test_objects_of_today_are_passive_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("chumpy.ch")
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)

    class Ch:
        def __init__(self) -> None:
            self.x = np.ones(3)

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module.Ch = Ch  # pyright: ignore
    found = read(tmp_path, pickle.dumps({"v": Ch(), "s": csc_matrix(np.eye(2))}))
    assert type(found["v"]) is not Ch
    np.testing.assert_array_equal(found["v"].entry("x"), np.ones(3))
    assert found["s"].entry("data").tolist() == [1, 1]


def test_tensors_become_arrays(tmp_path: Path):
    tensor = torch.arange(12).reshape(3, 4)[:, 1:]
    found = read(tmp_path, pickle.dumps({"t": tensor}))["t"]
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, tensor.numpy())


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_executed(tmp_path: Path, protocol: int):
    trace = tmp_path / "trace"
    for function in (os.mkdir, os.system, eval, getattr, __import__):
        argument = str(trace) if function is os.mkdir else f"open({str(trace)!r}, 'w')"
        content = pickle.dumps({"v_template": Bomb(function, argument)}, protocol)
        with pytest.raises(InputError, match=r"a\.pkl asks for .*made to run commands.*right one"):
            read(tmp_path, content)
        assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02ccopy_reg\n_reconstructor\n(cnumpy\ndtype\nNNtR.",  # no class to stand for
        b"\x80\x02c_codecs\nencode\n(U\x01aU\x05rot13tR.",
        b"\x80\x02cnumpy\ndtype\n(U\x02M8tR.",
        b"\x80\x02U\x01xQ.",  # an outside object
        b"\x80\x02cnumpy.core.multiarray\nfromfile\n.",
    ],
)
def test_roundabout_ways_are_refused(tmp_path: Path, content: bytes):
    with pytest.raises(InputError, match="asks for"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "name",
    [
        "numpy.core.multiarray\n_reconstruct",
        "numpy.core.multiarray\nscalar",
        "numpy.core.numeric\n_frombuffer",
        "numpy\ndtype",
        "numpy\nndarray",
        "_codecs\nencode",
        "copy_reg\n_reconstructor",
        "collections\nOrderedDict",
        "torch._utils\n_rebuild_tensor_v2",
        "torch.storage\n_load_from_bytes",
        "__builtin__\nobject",
    ],
)
@pytest.mark.parametrize("attribute", [b"__defaults__", b"__kwdefaults__", b"_call", b"mine"])
@pytest.mark.parametrize("by_slots", [True, False])
def test_what_is_called_cannot_be_changed(
    tmp_path: Path, name: str, attribute: bytes, by_slots: bool
):
    """The state of an object sets its attributes; here the object is the function itself."""
    module, _, function = name.partition("\n")
    found = safe_pickle._MEANINGS[module, function]
    before = getattr(found, attribute.decode(), None)
    state = b"}U" + bytes([len(attribute)]) + attribute + b"Ns"
    state = b"N" + state + b"\x86" if by_slots else state
    with pytest.raises(InputError, match=r"a\.pkl"):
        read(tmp_path, b"\x80\x02c" + name.encode() + b"\n" + state + b"b.")
    assert getattr(found, attribute.decode(), None) is before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x1f\x8b1234", "gzip archive"),
        (b"PK\x03\x041234", "a zip archive; unpack it"),
        (b"\x80\x02}(U", "damaged or cut short"),
        (b"random words", "damaged or cut short"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, reason: str):
    with pytest.raises(InputError, match=rf"a\.pkl .*{reason}.*right one"):
        read(tmp_path, content)


def test_every_cut_is_an_input_error(tmp_path: Path):
    whole = pickle.dumps({"a": np.arange(30.0), "b": csc_matrix(np.eye(3))}, 2)
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(InputError):
            read(tmp_path, whole[:length])


def test_npy_and_npz_with_and_without_objects(tmp_path: Path):
    path = tmp_path / "a.npy"
    np.save(path, np.array({"x": np.ones(2)}, dtype=object))
    assert read_npy(path, REMEDY)["x"].tolist() == [1, 1]
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.save(path, array)
    np.testing.assert_array_equal(read_npy(path, REMEDY), array)
    np.save(path, np.array([Bomb(os.mkdir, str(tmp_path / "trace"))], dtype=object))
    with pytest.raises(InputError, match="asks for"):
        read_npy(path, REMEDY)
    packed = tmp_path / "a.npz"
    objects: Any = np.array({"k": 1}, dtype=object)
    np.savez(packed, a=array, o=objects)
    found = read_npz(packed, REMEDY)
    np.testing.assert_array_equal(found["a"], array)
    assert found["o"] == {"k": 1}
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(InputError, match="damaged"):
        read_npz(packed, REMEDY)
    with pytest.raises(InputError, match="no zip archive"):
        read_npz(path, REMEDY)
    assert not (tmp_path / "trace").exists()
