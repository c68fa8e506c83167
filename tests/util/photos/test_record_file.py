"""Records of plain values: what is written is read back, and numbers that are none never are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from util.photos.record_file import write_record

RECORD = {
    "photo": 'größe "1" \\ \n.jpg',
    "face": 1,
    "K": [[1015.0, 0.0, 112.25], [1e-300, -0.0, 1 / 3]],
    "empty": [],
    "nothing": None,
    "ß": {"a": True},
}


def test_a_record_is_read_back_exactly_an_entry_a_line(tmp_path: Path):
    write_record(tmp_path / "a.json", RECORD)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == RECORD and list(json.loads(text)) == list(RECORD)
    assert len(text.splitlines()) == len(RECORD) and text.endswith("}\n")
    assert "größe" in text, "people read it"


def test_an_empty_record_is_json_too(tmp_path: Path):
    write_record(tmp_path / "a.json", {})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_leave_the_file_as_it_was(tmp_path: Path, number: float):
    write_record(tmp_path / "a.json", RECORD)
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(ValueError, match=r"a\.json: .* not finite"):
        write_record(tmp_path / "a.json", {"t": [[0.0, number]]})
    with pytest.raises(ValueError, match=r"b\.json: .* not finite"):
        write_record(tmp_path / "b.json", {"t": number})
    assert (tmp_path / "a.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
