"""All faces of a results folder on one page that links their reports: `index.html`.

Of many faces, `index_2.html` and so on hold the later ones.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from util.atomic import write_text
from util.reports.report_parts import REPORT_ENDING, WITH_PICTURES, fill, head, link

CONTACT_SHEET = "index.html"
FACES_A_PAGE = 200
FAILURES_SHOWN = 200
_GENERATOR = "face3d contact sheet"
_MARK = f'<meta name="generator" content="{_GENERATOR}">'
"""Of pages that are ours to replace; results may go into a folder that has an index of its own."""
_LATER_PAGE = re.compile(r"index_(\d+)\.html")
_THEME = """document.getElementById('theme').addEventListener('click', () => {
  const root = document.documentElement;
  const dark = getComputedStyle(root.querySelector('h1')).color.match(/\\d+/)[0] > 128;
  root.dataset.theme = dark ? 'light' : 'dark';
});"""


def write_contact_sheet(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the pages, and remove later ones that an earlier run needed and this one does not.

    Args:
        folder: of the results.
        rows: of its summary, as text by column.

    Raises:
        ValueError: a page of that name is the user's own; it is left alone.
        OSError: no space, no permission.
    """
    faces = [row for row in rows if row["status"] == "ok"]
    failures = [row for row in rows if row["status"] != "ok"]
    chunks = [faces[at : at + FACES_A_PAGE] for at in range(0, len(faces), FACES_A_PAGE)] or [[]]
    for number, chunk in enumerate(chunks, start=1):
        title = f"Faces in {folder.resolve().name}"
        page = fill(
            {
                "head": head(title, policy=WITH_PICTURES, generator=_GENERATOR),
                "title": html.escape(title),
                "subtitle": _count(len(faces), len(failures))
                + _range(number, len(chunk), len(chunks)),
                "faces": "".join(_face(folder, row) for row in chunk),
                "pages": _pages(number, len(chunks)),
                "failures": _failures(failures) if number == len(chunks) else "",
                "script": _THEME,
            },
            "sheet.html",
        )
        path = folder / _name(number)
        if path.exists() and not _is_ours(path):
            raise ValueError(f"{path} is no contact sheet and stays as it is; rename it to get one")
        write_text(path, page, escaped=True)
    for path in folder.glob("index_*.html"):
        later = _LATER_PAGE.fullmatch(path.name)
        if later and int(later[1]) > len(chunks) and _is_ours(path):
            path.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return _MARK in file.read(1000)


def _name(number: int) -> str:
    return CONTACT_SHEET if number == 1 else f"index_{number}.html"


def _count(faces: int, failures: int) -> str:
    text = f"{faces:,} face{'s' if faces != 1 else ''}"
    return f"{text}; {failures} photo{'s' if failures != 1 else ''} gave none" if failures else text


def _range(number: int, faces: int, pages: int) -> str:
    first = (number - 1) * FACES_A_PAGE + 1
    return f"; here {first} to {first + faces - 1}" if pages > 1 else ""


def _face(folder: Path, row: Mapping[str, str]) -> str:
    """A card; without a report (--report False) it links the picture."""
    stem, photo = row["files"], Path(row["image"]).name
    picture = link(f"{stem}.png")
    report = f"{stem}{REPORT_ENDING}"
    target = link(report) if (folder / report).is_file() else picture
    name = photo if row["face"] in ("", "1") else f"{photo}, face {row['face']}"
    about = []
    if row["nme_inner"]:
        about.append(f"landmarks {100 * float(row['nme_inner']):.1f} %")
    if row["yaw_deg"]:
        about.append(f"yaw {float(row['yaw_deg']):.0f}°")
    if row["message"]:
        about.append(row["message"])
    return (
        f'<li><a href="{target}"><img loading="lazy" src="{picture}" '
        f'alt="Crop of {html.escape(name)} and the 3D face over it">'
        f'<div><b>{html.escape(name)}</b><p class="soft">{html.escape(", ".join(about))}</p></div>'
        "</a></li>"
    )


def _pages(number: int, count: int) -> str:
    """Links to the first page, the last, those near this one, the one before and the next."""
    if count == 1:
        return ""
    shown = {1, count, *range(max(number - 2, 1), min(number + 2, count) + 1)}
    links, before = [], 0
    if number > 1:
        links.append(f'<a rel="prev" href="{link(_name(number - 1))}">‹ Back</a>')
    for page in sorted(shown):
        if page > before + 1:
            links.append('<span class="soft">…</span>')
        before = page
        here = f'<b aria-current="page">{page}</b>'
        links.append(here if page == number else f'<a href="{link(_name(page))}">{page}</a>')
    if number < count:
        links.append(f'<a rel="next" href="{link(_name(number + 1))}">Next ›</a>')
    return f'<nav class="bar pages" aria-label="Pages">{" ".join(links)}</nav>'


def _failures(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    items = "".join(
        f"<li><b>{html.escape(Path(row['image']).name)}</b> "
        f'<span class="soft">{html.escape(row["message"])}</span></li>'
        for row in rows[:FAILURES_SHOWN]
    )
    if (more := len(rows) - FAILURES_SHOWN) > 0:
        items += f'<li class="soft">and {more} more, which summary.csv names</li>'
    return f'<section class="card failures"><h2>Without a face</h2><ul>{items}</ul></section>'
