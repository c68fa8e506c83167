"""Files of fitted coefficients: as they were written, or refused by name."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.alignment import Alignment
from data.fitted_labels import (
    FittedLabel,
    LabelMaker,
    crop_numbers,
    parse_label,
    read_label,
    write_label,
)
from util.errors import InputError

CARD = SimpleNamespace(fingerprint="0123")
ALIGNMENT = Alignment((300, 200), 0.9, (150.0, 100.0), (270, 180), 40, -20)


def label(**changes) -> FittedLabel:
    numbers = np.random.default_rng(0).normal(size=9).astype(np.float32)
    made = FittedLabel(
        LabelMaker("tiny 1 (0123)", "0123", "fast", ""), crop_numbers(ALIGNMENT), 0.0123, numbers
    )
    return replace(made, **changes)


def test_a_label_comes_back_bit_for_bit(tmp_path: Path):
    numbers = np.array([np.pi, 1e-30, -3e20, 1 / 3, 0.1, 16777217, -0.0], np.float32)
    path = tmp_path / "coefficients" / "ä b.json"
    write_label(path, label(coefficients=numbers))
    found = read_label(path)
    assert found.coefficients is not None and found.coefficients.dtype == np.float32
    assert found.coefficients.tobytes() == numbers.tobytes()
    assert replace(found, coefficients=None) == label(coefficients=None)
    assert path.read_text(encoding="utf-8").count("\n") == 1


def test_a_doubt_has_a_reason_and_no_coefficients(tmp_path: Path):
    path = tmp_path / "doubtful" / "a.json"
    write_label(path, label(coefficients=None, doubt="half of it is hidden", landmark_error=None))
    found = read_label(path)
    assert (found.coefficients, found.landmark_error) == (None, None)
    assert found.doubt == "half of it is hidden"
    assert "coefficients" not in path.read_text(encoding="utf-8")


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not finite"):
        write_label(tmp_path / "a.json", label(coefficients=np.full(9, np.nan, np.float32)))
    assert not list(tmp_path.iterdir())


def test_coefficients_are_for_one_face_model_and_one_crop():
    given = label().coefficients
    assert given is not None
    found = label().coefficients_for("a.json", CARD, 9, ALIGNMENT)
    np.testing.assert_array_equal(found, given)
    # A crop's edge may be rounded to the next pixel on another machine.
    label().coefficients_for("a.json", CARD, 9, replace(ALIGNMENT, left=41))
    other = SimpleNamespace(fingerprint="abcd", __str__=None)
    with pytest.raises(InputError, match=r"a\.json was fitted with the face model tiny 1 \(0123\)"):
        label().coefficients_for("a.json", other, 9, ALIGNMENT)
    for moved in (replace(ALIGNMENT, left=42), replace(ALIGNMENT, photo_size=(301, 200))):
        with pytest.raises(InputError, match=r"a\.json was fitted in another crop .*--fit"):
            label().coefficients_for("a.json", CARD, 9, moved)
    with pytest.raises(InputError, match="has 9 coefficients, not 8"):
        label().coefficients_for("a.json", CARD, 8, ALIGNMENT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no fitted coefficients"),
        (b"\xff\x00", "holds no fitted coefficients"),
        (b"[1, 2]", "holds no fitted coefficients"),
        (b'{"format": 2}', "has format 2, this program reads 1"),
        (b'{"format": 1}', "KeyError: 'crop'"),
        (b'{"format": 1, "coefficients": [NaN]}', "no finite numbers"),
        (b'{"format": 1, "coefficients": [1e99]}', "no finite numbers"),
        (b'{"format": 1, "coefficients": ["a"]}', "holds no fitted coefficients"),
        (b'{"format": 1, "coefficients": [[1], [2, 3]]}', "holds no fitted coefficients"),
        (b'{"format": 1, "crop": [1, 2]}', "its crop has 2 numbers"),
        (b'{"format": 1, "crop": [1, 2, 3, 4, 5, 1e999]}', "holds no fitted coefficients"),
        (b"[" * 100_000, "holds no fitted coefficients"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_other_files_are_refused(content: bytes, message: str):
    with pytest.raises(InputError, match=message) as caught:
        parse_label(content, "faces/coefficients/a.json")
    assert "faces/coefficients/a.json" in str(caught.value)
    assert "data_preparation.py --fit" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"a\.json cannot be read"):
        read_label(tmp_path / "a.json")
