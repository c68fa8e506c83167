"""The report of an evaluation: what it marks and holds, and that a browser shows it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.browser import Browser, find_chromium
from tests.scan_files import dome
from util.evaluation import evaluation_report
from util.evaluation.error_picture import ErrorMesh, error_colours
from util.evaluation.evaluation_report import (
    REPORT,
    keep_results,
    page_data,
    table_html,
    used_html,
    write_report,
)
from util.evaluation.shown_meshes import ShownMeshes, read_shown
from util.evaluation.tables import BenchmarkTable, Column, write_tables


@dataclass(frozen=True)
class Row:
    method: str
    data: str
    of: str
    error_mm: float
    complete: float


COLUMNS = (
    Column("method", "method"),
    Column("of", "of"),
    Column("mm", "error_mm", digits=2, best="least"),
    Column("complete", "complete", digits=1, best="most"),
)
TABLE = BenchmarkTable("Mine", "", "t", Row, COLUMNS)
USED = [("Face model", "one <1>")]
NAN = float("nan")
HOSTILE = '<b>"x"</script>'


def meshes_of(method: str, errors: dict[str, float], data: str = "x") -> ShownMeshes:
    mesh = dome(20, 22)
    shown = ShownMeshes(method, data, [*USED, ("Method", method)])
    photo = np.full((8, 8, 3), 90, np.uint8)
    for name, error in errors.items():
        each = np.full(len(mesh.vertices), error)
        made = ErrorMesh(name, mesh.vertices / 100, mesh.triangles, each, photo)
        shown.offer(error, lambda made=made: made)
    return shown


def keep(out: Path, method: str, errors: dict[str, float], data: str = "x") -> None:
    meshes_of(method, errors, data).write(out)


def written(out: Path) -> str:
    rows = [Row("a", "x", "all", 1.5, 90), Row(HOSTILE, "x", "all", 0.5, 80)]
    write_tables(out / "t", rows, Row, COLUMNS)
    keep(out, "a", {"one": 0.2, "two": 4.8})
    keep(out, HOSTILE.replace("/", "_"), {"one": 0.5})
    titled = BenchmarkTable("Mine: with <signs>", "What is & what is not", "t", Row, COLUMNS)
    write_report(out, titled)
    return (out / REPORT).read_text(encoding="utf-8")


def test_the_best_of_each_kind_is_marked():
    rows = [
        Row("a", "x", "all", 1.501, 90.0),
        Row("a", "x", "few", 1.0, 90.0),
        Row("b", "x", "all", 1.499, 95.0),
        Row("b", "x", "few", NAN, 10.0),
        Row("alone", "x", "other", 0.1, 99.0),
    ]
    lines = table_html(rows, COLUMNS).split("<tr")[2:]
    marked = [re.findall(r"class='best'[^>]*>([^<]+)", line) for line in lines]
    # Kind by kind; equal as far as the table shows them: both; nothing to compare with: none.
    names = [re.findall(r"row'>([^<]+)", line)[0] for line in lines]
    assert names == ["a", "b", "a", "b", "alone"]
    assert marked == [["1.50"], ["1.50", "95.0"], ["1.00", "90.0"], [], []]


def test_meshes_that_methods_share_are_there_once(tmp_path: Path):
    keep(tmp_path, "a", {"one": 1.0, "two": 2.0})
    keep(tmp_path, "b", {"one": 3.0})
    keep(tmp_path, "of other images", {"one": 3.0}, data="y")
    names = ("a", "b", "of other images", "no meshes")
    data, left_out = page_data({name: read_shown(tmp_path, name, "x") for name in names})
    assert [method["name"] for method in data["methods"]] == ["a", "b"]
    assert len(data["meshes"]) == 1 and set(data["photos"]) == {"one", "two"}
    assert not left_out and "photo" not in data["methods"][0]["faces"][0]


def test_with_too_many_methods_the_last_ones_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("a", "b", "c"):
        keep(tmp_path, name, {"one": 1.0})
    monkeypatch.setattr(evaluation_report, "MESH_BYTES", 1)
    data, left_out = page_data({name: read_shown(tmp_path, name, "x") for name in "abc"})
    assert [method["name"] for method in data["methods"]] == ["c"] and left_out == ["a", "b"]


def test_the_page_is_one_safe_file(tmp_path: Path):
    page = written(tmp_path)
    assert "Mine</title>" in page and "with &lt;signs&gt;" in page and "{{" not in page
    assert HOSTILE not in page and "What is &amp; what is not" in page
    found = re.search(r'id="evaluation-data">(.*?)</script>', page, re.S)
    assert found is not None
    assert [m["name"] for m in json.loads(found[1])["methods"]] == ["a"]
    assert len(page) < 150_000
    used = page.partition("What was used")[2].partition("</section>")[0]
    assert "one &lt;1&gt;" in used and ">a</td>" in used
    assert "src=http" not in page and 'href="http' not in page


def test_what_methods_share_is_said_once():
    same, other = ("Face model", "open"), ("Program", "commit")
    page = used_html({"a": [same, ("Preset", "fast"), other], "b": [same, ("Preset", "best")]})
    shared, of_a, of_b = page.split("<h3>")
    assert "open" in shared and page.count("open") == 1
    assert of_a.startswith("a<") and "fast" in of_a and "commit" in of_a
    assert of_b.startswith("b<") and "best" in of_b and "commit" not in of_b
    assert used_html({}) == "<table></table>"
    assert "<h3>" not in used_html({"a": [same]})


def test_without_meshes_there_is_the_table(tmp_path: Path):
    write_tables(tmp_path / "t", [Row("a", "x", "all", 1, 1)], Row, COLUMNS)
    write_report(tmp_path, TABLE)
    page = (tmp_path / REPORT).read_text(encoding="utf-8")
    assert 'aria-labelledby="view-title" hidden' in page


def test_a_row_that_is_replaced_without_pictures_leaves_no_old_ones(tmp_path: Path):
    """Else the next report would show the new row with meshes and options of the old one."""

    def evaluate(method: str, error: float, *, pictures: bool) -> None:
        shown = meshes_of(method, {"one": error})
        row = Row(method, "x", "all", error, 90)
        keep_results(tmp_path, TABLE, [row], shown, pictures=pictures)

    evaluate("a", 4.0, pictures=True)
    assert read_shown(tmp_path, "a", "x") and (tmp_path / "a" / "errors.png").is_file()
    evaluate("a", 1.0, pictures=False)
    evaluate("b", 2.0, pictures=True)
    page = (tmp_path / REPORT).read_text(encoding="utf-8")
    found = re.search(r'id="evaluation-data">(.*?)</script>', page, re.S)
    assert found is not None
    assert [method["name"] for method in json.loads(found[1])["methods"]] == ["b"]
    assert ">a</td>" not in page.partition("What was used")[2].partition("</section>")[0]
    assert "1.00" in page and not (tmp_path / "a" / "errors.png").exists()


def test_a_browser_shows_errors_as_colours(tmp_path: Path):
    """Small errors are blue and large ones red, as in the picture; sliders and buttons act."""
    chromium = find_chromium()
    rows = [Row(name, "x", "all", 1, 1) for name in ("a", "b")]
    write_tables(tmp_path / "t", rows, Row, COLUMNS)
    keep(tmp_path, "a", {"one": 0.0, "two": 5.0})
    keep(tmp_path, "b", {"one": 5.0, "two": 0.0, "three": 2.5})
    write_report(tmp_path, TABLE)
    press = "[...document.querySelectorAll('button')].find((b) => b.textContent.startsWith({}))"

    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open((tmp_path / REPORT).as_uri() + "#method=a&face=one")
        browser.wait_for("document.body && document.body.dataset.viewer")
        assert browser.run("document.body.dataset.viewer") == "ready"

        def middle() -> np.ndarray:
            """Mean colour of the middle of the view, in [0, 1]."""
            pixels = browser.run(
                "(() => { const p = viewer.pixels(), w = viewer.canvas.width,"
                " h = viewer.canvas.height, at = 4 * (w * (h >> 1) + (w >> 1));"
                " return [...p.slice(at, at + 3)]; })()"
            )
            return np.array(pixels) / 255

        def click(label: str, shown: str) -> None:
            browser.run(press.format(repr(label)) + ".click()")
            browser.wait_for(f"document.body.dataset.shown === {shown!r}")

        def is_like(error: float, limit: float = 5.0) -> bool:
            colour = error_colours(np.array([error]), limit)[0]
            found = middle()
            return bool(np.abs(found / found.max() - colour / colour.max()).max() < 0.04)

        assert browser.run("document.body.dataset.shown") == "a/one" and is_like(0)
        click("two", "a/two")
        assert is_like(5) and "two, a: 5.00 mm" in browser.run("$('said').textContent")
        click("b", "b/two")
        assert is_like(0), "the same face of another method"
        assert "a5.00 mmb0.00 mm" in browser.run("$('figures').textContent")
        click("three", "b/three")
        assert is_like(2.5)
        click("a", "a/one")
        click("b", "b/one")
        click("three", "b/three")
        browser.run("$('limit').value = 10, $('limit').dispatchEvent(new Event('input'))")
        browser.wait_for("$('ticks').textContent.includes('10 mm and more')")
        browser.run("new Promise((done) => setTimeout(done, 300))")
        assert is_like(2.5, 10)
        before = browser.run("[...viewer.pixels()].filter((v, i) => i % 997 === 0)")
        browser.run("$('view-side').click()")
        after = browser.run("[...viewer.pixels()].filter((v, i) => i % 997 === 0)")
        assert before != after
        wrong = [e for e in browser.events if "exception" in str(e).lower()]
        assert not wrong, wrong
