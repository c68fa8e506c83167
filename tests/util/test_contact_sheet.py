"""The contact sheet of a results folder: links, pages, and indexes that are the user's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from util.contact_sheet import FACES_A_PAGE, write_contact_sheet


def row(stem: str, status: str = "ok", message: str = "") -> dict[str, str]:
    numbers = {"nme_inner": "0.01934", "yaw_deg": "-12.50000"}
    face = "1" if status == "ok" else ""
    return {"image": f"photos/{stem}.jpg", "files": stem, "status": status, "face": face} | {
        "message": message,
        **numbers,
    }


def faces(page: Path) -> list[str]:
    return re.findall(r'<li><a href="([^"]+)">', page.read_text(encoding="utf-8"))


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


def test_an_index_of_the_user_stays(tmp_path: Path):
    (tmp_path / "index.html").write_text("my site")
    with pytest.raises(ValueError, match="is no contact sheet and stays"):
        write_contact_sheet(tmp_path, [row("a")])
    assert (tmp_path / "index.html").read_text() == "my site"
