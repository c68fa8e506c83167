"""The contact sheet of a results folder: links, pages, and indexes that are the user's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from util.reports.contact_sheet import FACES_A_PAGE, FAILURES_SHOWN, write_contact_sheet


def row(stem: str, status: str = "ok", message: str = "") -> dict[str, str]:
    numbers = {"nme_inner": "0.01934", "yaw_deg": "-12.50000"}
    face = "1" if status == "ok" else ""
    return {"image": f"photos/{stem}.jpg", "files": stem, "status": status, "face": face} | {
        "message": message,
        **numbers,
    }


def faces(page: Path) -> list[str]:
    return _faces_of(page.read_text(encoding="utf-8"))


def test_reports_are_linked_and_pictures_where_there_is_none(tmp_path: Path):
    (tmp_path / "größe 1#_report.html").write_text("x")
    write_contact_sheet(tmp_path, [row("größe 1#"), row("b"), row("c", "failed", "<no> face")])
    assert faces(tmp_path / "index.html") == ["./gr%C3%B6%C3%9Fe%201%23_report.html", "./b.png"]
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "landmarks 1.9 %" in text and "yaw -12°" in text
    assert "&lt;no&gt; face" in text and "2 faces; 1 photo gave none" in text


def test_many_faces_are_paged_and_pages_that_are_not_needed_go(tmp_path: Path):
    many = [row(f"p{k}") for k in range(2 * FACES_A_PAGE + 1)]
    write_contact_sheet(tmp_path, many)
    counts = [len(faces(tmp_path / f"index{part}.html")) for part in ("", "_2", "_3")]
    assert counts == [FACES_A_PAGE, FACES_A_PAGE, 1]
    assert 'href="./index_3.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")
    (tmp_path / "index_9.html").write_text("somebody's")
    write_contact_sheet(tmp_path, many[:5])
    assert sorted(p.name for p in tmp_path.glob("index*")) == ["index.html", "index_9.html"]


def test_ten_thousand_photos_stay_easy_to_go_through(tmp_path: Path):
    """Any page is near: the first, the last, the neighbours; and pages stay small."""
    lost = [row(f"x{k}", "failed", "no face") for k in range(FAILURES_SHOWN + 7)]
    write_contact_sheet(tmp_path, [row(f"p{k}") for k in range(10_000)] + lost)
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("index*")}
    assert len(pages) == 50 and max(map(len, pages.values())) < 150_000
    middle = pages["index_25.html"]
    linked = re.findall(r'href="\./(index\w*\.html)"', middle.split('<ul class="sheet">')[0])
    near = ["index_24", "index", "index_23", "index_24", "index_26", "index_27", "index_50"]
    assert linked == [f"{name}.html" for name in [*near, "index_26"]]
    assert "here 4801 to 5000" in middle and 'aria-current="page">25<' in middle
    assert 'rel="prev"' not in pages["index.html"] and 'rel="next"' not in pages["index_50.html"]
    assert "and 7 more" in pages["index_50.html"] and "Without a face" not in middle
    assert set().union(*map(_faces_of, pages.values())) == {f"./p{k}.png" for k in range(10_000)}


def _faces_of(text: str) -> list[str]:
    return re.findall(r'<li><a href="([^"]+)">', text)


def test_an_index_of_the_user_stays(tmp_path: Path):
    (tmp_path / "index.html").write_text("my site")
    with pytest.raises(ValueError, match="is no contact sheet and stays"):
        write_contact_sheet(tmp_path, [row("a")])
    assert (tmp_path / "index.html").read_text() == "my site"
