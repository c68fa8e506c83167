"""The report of an evaluation, which opens by double click: `report.html` beside the tables.

The table of all methods with the best numbers marked, and meshes to turn whose colours say how far
off they are: of each method the first ones and the worst (`shown_meshes`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from util.atomic import write_text
from util.evaluation.error_picture import NOT_COMPARED, RAMP
from util.evaluation.method_names import method_folder
from util.evaluation.shown_meshes import BEYOND, LEVELS, ShownMeshes, read_shown, shown_path
from util.evaluation.tables import (
    BenchmarkTable,
    Column,
    cell_text,
    read_table,
    text_table,
    write_tables,
)
from util.reports.report_parts import (
    escaped,
    file_items,
    fill,
    head,
    part,
    script,
    script_json,
    table_rows,
)

REPORT = "report.html"
MESH_BYTES = 5_000_000
"""Of all meshes in a page; of further methods only the table is there."""
_FILES = {
    "*/heads.csv": "errors of each",
    "*/meshes.csv": "errors of each",
    "*/images.csv": "errors of each",
    "*/errors.png": "the meshes as a picture",
}


def keep_results(
    out: Path,
    table: BenchmarkTable,
    rows: Sequence[Any],
    shown: ShownMeshes,
    *,
    notes: Sequence[str] = (),
    pictures: bool,
) -> None:
    """Write what a benchmark says of a method, beside what it says of others.

    Args:
        out: folder of the results.
        table: of the benchmark.
        rows: of the method.
        shown: its meshes.
        notes: sentences that the report adds.
        pictures: write the report, too, and a picture of the method's meshes; else what an earlier
            run has kept of them goes, since it shows other results than the new rows.

    Raises:
        InputError: the table there is of other data.
        OSError: no space, no permission.
    """
    write_tables(out / table.name, rows, table.row, table.columns)
    picture = method_folder(out, shown.method) / "errors.png"
    if pictures:
        shown.write(out)
        shown.draw(picture)
        write_report(out, table, notes)
    else:
        for stale in (shown_path(out, shown.method), picture):
            stale.unlink(missing_ok=True)


def say_results(
    out: Path, table: BenchmarkTable, methods: Iterable[str], *, pictures: bool
) -> None:
    """Print the table with all methods, and where what was written of some lies."""
    rows = read_table(out / f"{table.name}.csv", table.row)
    print(f"\n{table.title}\n{text_table(rows, table.columns)}\n")
    written = "Tables and report" if pictures else "Tables"
    folders = ", ".join(str(method_folder(out, method)) for method in methods)
    print(f"{written} in {out}, single errors in {folders}")


def write_report(out: Path, table: BenchmarkTable, notes: Sequence[str] = ()) -> None:
    """Write the page of all methods in a folder of results.

    Args:
        out: the folder, with the table and the meshes that runs kept.
        table: of the benchmark.
        notes: sentences that belong to the table.

    Raises:
        OSError: no space, no permission.
    """
    rows = read_table(out / f"{table.name}.csv", table.row)
    data_of = {row.method: row.data for row in rows}
    kept = {method: read_shown(out, method, data) for method, data in data_of.items()}
    data, left_out = page_data(kept)
    methods = [method["name"] for method in data["methods"]]
    files = {f"{table.name}.csv": "every number", f"{table.name}.tex": "the table as LaTeX"}
    for pattern, what in _FILES.items():
        found = sorted(path.relative_to(out) for path in out.glob(pattern))
        files |= {path.as_posix(): what for path in found}
    benchmark = table.title.partition(":")[0]
    page = fill(
        {
            "head": head(benchmark),
            "title": escaped(benchmark),
            "subtitle": escaped(f"Evaluation, as of {time.strftime('%Y-%m-%d %H:%M')}"),
            "caption": escaped(table.title.partition(": ")[2] or table.title),
            "explanation": escaped(" ".join([table.explanation, *notes])),
            "rows": table_html(rows, table.columns),
            "no_meshes": "" if methods else " hidden",
            "left_out": _left_out(left_out),
            "used": used_html({name: shown["used"] for name, shown in kept.items() if shown}),
            "files": file_items(files),
            "data": script_json(table.title, data),
            "common": script(part("common.js")),
            "viewer": script(part("viewer.js")),
            "script": script(part("evaluation.js")),
        },
        "evaluation.html",
    )
    write_text(out / REPORT, page)


def used_html(used: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Tables of what was used: what all methods have in common once, then what is each one's own.

    Args:
        used: names and values, by method.
    """
    every = [[(name, value) for name, value in rows] for rows in used.values()]
    shared = [row for row in (every[0] if every else []) if all(row in rows for rows in every)]
    tables = [f"<table>{table_rows(shared)}</table>"]
    for method, rows in zip(used, every, strict=True):
        if own := [row for row in rows if row not in shared]:
            tables.append(f"<h3>{escaped(method)}</h3><table>{table_rows(own)}</table>")
    return "".join(tables)


def page_data(
    kept: Mapping[str, Mapping[str, Any] | None],
) -> tuple[dict[str, Any], list[str]]:
    """What `evaluation.js` shows, and methods whose meshes find no room.

    Meshes and photos that several methods share are there once. The methods that were evaluated
    last go first, should there be too many.

    Args:
        kept: what `read_shown` found of each method.
    """
    meshes: dict[str, Any] = {}
    photos: dict[str, str] = {}
    methods, left_out = [], []
    size = 0
    unit, limit = "mm", 0.0
    for method, shown in reversed(list(kept.items())):
        if shown is None:
            continue
        new = {key: mesh for key, mesh in shown["meshes"].items() if key not in meshes}
        more = sum(_mesh_bytes(mesh) for mesh in new.values())
        more += sum(len(face["errors"]) for face in shown["faces"])
        if methods and size + more > MESH_BYTES:
            left_out.append(method)
            continue
        size += more
        meshes |= new
        unit, limit = shown["unit"], limit or shown["limit"]
        faces = []
        for face in shown["faces"]:
            if face["photo"]:
                photos[face["name"]] = face["photo"]
            # Colours begin at one limit for all methods; levels are of a method's own.
            kept = {key: value for key, value in face.items() if key != "photo"}
            faces.append(kept | {"top": BEYOND * shown["limit"]})
        methods.append({"name": method, "faces": faces})
    ramp = (255 * RAMP).round().astype(int).tolist()
    data = {
        "ramp": ramp,
        "grey": round(255 * NOT_COMPARED),
        "levels": LEVELS,
        "unit": unit,
        "limit": limit or 1.0,
        "meshes": meshes,
        "photos": photos,
        "methods": methods[::-1],
    }
    return data, left_out[::-1]


def table_html(rows: Sequence[Any], columns: Sequence[Column]) -> str:
    """Rows of a table, kind by kind; the best number of a column is marked among those of a kind.

    Rows are of one kind where all columns without a best number, but the method, say the same.
    """
    head = "".join(f"<th scope='col'>{escaped(column.title)}</th>" for column in columns)
    same = [column.field for column in columns if not column.best and column.field != "method"]
    kinds: dict[tuple, list[Any]] = {}
    for row in rows:
        kinds.setdefault(tuple(str(getattr(row, field)) for field in same), []).append(row)
    lines = []
    for among in kinds.values():
        for row in among:
            cells = "".join(
                _cell(row, column, is_best=_is_best(row, column, among), first=number == 0)
                for number, column in enumerate(columns)
            )
            lines.append(f"<tr{' class=group' if row is among[0] else ''}>{cells}</tr>")
    return f"<tr>{head}</tr>{''.join(lines)}"


def _cell(row: Any, column: Column, *, is_best: bool, first: bool) -> str:
    text = escaped(cell_text(row, column))
    if first:
        return f"<th scope='row'>{text}</th>"
    return f"<td class='best' title='the best'>{text}</td>" if is_best else f"<td>{text}</td>"


def _is_best(row: Any, column: Column, among: Sequence[Any]) -> bool:
    """Whether no other row of its kind has a better number, as far as the table shows it."""
    if not column.best or len(among) < 2:
        return False
    numbers = [round(getattr(other, column.field), column.digits) for other in among]
    numbers = [number for number in numbers if not math.isnan(number)]
    own = round(getattr(row, column.field), column.digits)
    choose = min if column.best == "least" else max
    return bool(numbers) and own == choose(numbers)


def _mesh_bytes(mesh: Mapping[str, Any]) -> int:
    return len(mesh["vertices"]["steps"]) + len(mesh["triangles"])


def _left_out(methods: Sequence[str]) -> str:
    if not methods:
        return ""
    return escaped(f"Without meshes, for want of room: {', '.join(methods)}.")
