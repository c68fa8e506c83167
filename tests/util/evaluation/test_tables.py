"""Tables of benchmarks: what stands in the .csv, the text and the LaTeX."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from util.errors import InputError
from util.evaluation.tables import (
    Column,
    mean_and_error,
    text_table,
    write_mesh_errors,
    write_tables,
)


@dataclass(frozen=True)
class Row:
    method: str
    data: str
    images: int
    error_mm: float
    error_se: float


COLUMNS = (
    Column("method", "method"),
    Column("images", "images"),
    Column("mm", "error_mm", "error_se", 2),
)
NAN = float("nan")


def test_all_three_hold_the_same(tmp_path: Path):
    rows = [Row("a_b & 50%", "x", 3, 1.234, 0.056), Row("c", "x", 3, 2.0, NAN)]
    text = write_tables(tmp_path / "t", rows, Row, COLUMNS)
    assert text.splitlines() == [
        "method     images           mm",
        "a_b & 50%       3  1.23 (0.06)",
        "c               3         2.00",
    ]
    latex = (tmp_path / "t.tex").read_text()
    assert r"a\_b \& 50\% & 3 & $1.23 \pm 0.06$ \\" in latex
    assert r"c & 3 & 2.00 \\" in latex and r"\begin{tabular}{lrr}" in latex
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "method,data,images,error_mm,error_se",
        "a_b & 50%,x,3,1.2340,0.0560",
        "c,x,3,2.0000,",
    ]


def test_rows_of_a_method_replace_its_earlier_ones(tmp_path: Path):
    for value in (1.0, 2.0):
        write_tables(tmp_path / "t", [Row("a", "x", 1, value, NAN)], Row, COLUMNS)
    text = write_tables(tmp_path / "t", [Row("b", "x", 1, 5.0, NAN)], Row, COLUMNS)
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["a", "1", "2.00"],
        ["b", "1", "5.00"],
    ]
    assert (tmp_path / "t.tex").read_text().count(r"\\") == 3
    with pytest.raises(InputError, match=r"t.csv holds methods on other images.*\(x\)"):
        write_tables(tmp_path / "t", [Row("c", "y", 1, 5.0, NAN)], Row, COLUMNS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is no table"),
        (b"\xff\xfe\x00", "is no table"),
        (b"method,images\na,3\n", "another version.*columns are method,images, expected"),
        (b"method,data,images,error_mm,error_se\na,x,3\n", "row 2, holds 3 of 5 columns"),
        (b"method,data,images,error_mm,error_se\na,x,three,1,2\n", "is damaged"),
    ],
)
def test_a_table_that_cannot_be_read_is_not_overwritten(
    tmp_path: Path, content: bytes, problem: str
):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"t.csv.*{problem}.*move it away, or give another --out"):
        write_tables(tmp_path / "t", [Row("a", "x", 1, 5.0, NAN)], Row, COLUMNS)
    assert path.read_bytes() == content


def test_a_missing_number_is_a_dash():
    assert text_table([Row("a", "x", 1, NAN, NAN)], COLUMNS).splitlines()[1].split() == [
        "a",
        "1",
        "-",
    ]


def test_standard_errors():
    values = np.array([1.0, 2.0, 4.0])
    mean, error = mean_and_error(values)
    # By hand: variance ((4/3)^2 + (1/3)^2 + (5/3)^2) / 2 over three.
    assert (mean, error) == pytest.approx((7 / 3, np.sqrt((16 + 1 + 25) / 9 / 2 / 3)))
    assert np.isnan(mean_and_error(values[:1])[1]) and np.isnan(mean_and_error(values[:0])[0])


def test_errors_of_meshes_with_any_name(tmp_path: Path):
    names = ['a "b", c', "plain"]
    write_mesh_errors(tmp_path / "m.csv", "e1,e2", names, np.array([[1, 2], [0.12345, 3]]))
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["mesh", "e1", "e2"],
        [names[0], "1.0000", "2.0000"],
        ["plain", "0.1235", "3.0000"],
    ]
