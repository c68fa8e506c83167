"""Tables of benchmarks: rows are dataclasses, one writer makes a .csv, a text and LaTeX of them.

A .csv grows: methods that are evaluated into the same folder stand in one table. Every row class
has a `method` and a `data`, the fingerprint of what was compared with, so that only rows of the
same images share a table.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from util.atomic import write_text
from util.errors import InputError

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}

_MOVE = "move it away, or give another --out"


@dataclass(frozen=True)
class Column:
    """One column as people read it."""

    title: str
    field: str
    """Of the rows."""
    error: str = ""
    """Field of its standard error, which stands beside it."""
    digits: int = 3
    best: Literal["", "least", "most"] = ""
    """Which number is the best, where one is; the report marks it."""


@dataclass(frozen=True)
class BenchmarkTable:
    """The table of one benchmark, and what is said about it."""

    title: str
    """Above it; before the first colon stands the benchmark."""
    explanation: str
    """In the report: what columns and colours mean."""
    name: str
    """Of its files, without ending."""
    row: type
    """Class of its rows."""
    columns: Sequence[Column]
    """That people read."""


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean of values (N,) and its standard error, which one value alone does not have."""
    if not len(values):
        return float("nan"), float("nan")
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(values.mean()), float(error)


def write_mesh_errors(
    path: Path, columns: str, names: Sequence[str], errors: np.ndarray, title: str = "mesh"
) -> None:
    """Write the errors of each mesh as csv, names in quotes.

    Args:
        path: the .csv.
        columns: titles of the numbers, with commas between.
        names: of the M meshes.
        errors: (M,) or (M, columns).
        title: of the names.
    """
    lines = [f"{title},{columns}"]
    for name, numbers in zip(names, errors.reshape(len(names), -1).tolist(), strict=True):
        quoted = name.replace('"', '""')
        lines.append(",".join([f'"{quoted}"', *(f"{number:.4f}" for number in numbers)]))
    write_text(path, "\n".join(lines) + "\n")


def merge_table(path: Path, rows: Sequence[Any], kind: type) -> list:
    """Add a method's rows to a .csv, in place of its earlier ones.

    Args:
        path: the table.
        rows: of one method, or of several.
        kind: class of the rows.

    Returns:
        All rows of the table.

    Raises:
        InputError: the table there is of other images, damaged, or of another version.
    """
    earlier = _of_others(path, kind, {row.method for row in rows})
    for data in {row.data for row in rows}:
        _check_same_data(path, earlier, data)
    every = [*earlier, *rows]
    buffer = io.StringIO(newline="")
    names = [field.name for field in fields(kind)]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for row in every:
        writer.writerow({name: _csv_cell(value) for name, value in asdict(row).items()})
    write_text(path, buffer.getvalue())
    return every


def check_table(path: Path, kind: type, methods: Collection[str], data: str) -> None:
    """Refuse, before the work, a table that rows cannot be added to; see `merge_table`.

    Args:
        path: the .csv.
        kind: class of the rows.
        methods: whose rows will be replaced.
        data: fingerprint of the new rows, or its beginning.

    Raises:
        InputError: as `merge_table`.
    """
    _check_same_data(path, _of_others(path, kind, methods), data)


def _of_others(path: Path, kind: type, methods: Collection[str]) -> list:
    return [row for row in read_table(path, kind) if row.method not in methods]


def _check_same_data(path: Path, rows: Sequence[Any], data: str) -> None:
    others = {row.data for row in rows if not row.data.startswith(data)}
    if others:
        raise InputError(
            f"{path} holds methods on other images or labels ({', '.join(sorted(others))}); give "
            "another --out, or move it away"
        )


def write_tables(path: Path, rows: Sequence[Any], kind: type, columns: Sequence[Column]) -> str:
    """Merge rows into `<path>.csv` and write the same as `<path>.tex`.

    Args:
        path: without its ending.
        rows: see `merge_table`.
        kind: class of the rows.
        columns: of the text and of the LaTeX table; the .csv holds every field.

    Returns:
        The text.
    """
    every = merge_table(path.with_suffix(".csv"), rows, kind)
    write_text(path.with_suffix(".tex"), latex_table(every, columns))
    return text_table(every, columns)


def text_table(rows: Sequence[Any], columns: Sequence[Column]) -> str:
    """Columns side by side; words to the left, numbers to the right."""
    header = [column.title for column in columns]
    cells = [[cell_text(row, column) for column in columns] for row in rows]
    words = _are_words(rows, columns)
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = []
    for row in (header, *cells):
        aligned = [
            cell.ljust(width) if is_word else cell.rjust(width)
            for cell, width, is_word in zip(row, widths, words, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def latex_table(rows: Sequence[Any], columns: Sequence[Column]) -> str:
    """A `tabular` with the rules of the package booktabs, to be included as it is."""
    kinds = "".join("l" if is_word else "r" for is_word in _are_words(rows, columns))
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{kinds}}}",
        "\\toprule",
        " & ".join(_escaped(column.title) for column in columns) + r" \\",
        "\\midrule",
        *(" & ".join(_latex_cell(row, column) for column in columns) + r" \\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _are_words(rows: Sequence[Any], columns: Sequence[Column]) -> list[bool]:
    return [any(isinstance(getattr(r, column.field), str) for r in rows) for column in columns]


def cell_text(row: Any, column: Column) -> str:
    """A number with its standard error, or words."""
    value = _number(getattr(row, column.field), column.digits)
    error = getattr(row, column.error) if column.error else math.nan
    return value if math.isnan(error) else f"{value} ({_number(error, column.digits)})"


def _latex_cell(row: Any, column: Column) -> str:
    value = getattr(row, column.field)
    if isinstance(value, str):
        return _escaped(value)
    error = getattr(row, column.error) if column.error else math.nan
    shown = _number(value, column.digits)
    return shown if math.isnan(error) else f"${shown} \\pm {_number(error, column.digits)}$"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _number(value: object, digits: int) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.{digits}f}"
    return str(value)


def _csv_cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return str(value)


def read_table(path: Path, kind: type) -> list:
    """Rows of a table that an earlier call wrote; none if it is missing.

    Raises:
        InputError: it cannot be read: writing it anew would lose its rows.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file, strict=True)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is no table ({error}); {_MOVE}") from error
    names = [field.name for field in fields(kind)]
    if header != names:
        raise InputError(
            f"{path} is of another version, or no table: its columns are {','.join(header)}, "
            f"expected {','.join(names)}; {_MOVE}"
        )
    for number, line in enumerate(lines, 2):
        if len(line) != len(names):
            raise InputError(
                f"{path}, row {number}, holds {len(line)} of {len(names)} columns; {_MOVE}"
            )
    convert = {"str": str, "int": int, "float": lambda text: float(text or "nan")}
    try:
        return [
            kind(
                **{
                    field.name: convert[str(field.type)](cell)
                    for field, cell in zip(fields(kind), line, strict=True)
                }
            )
            for line in lines
        ]
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {_MOVE}") from error
