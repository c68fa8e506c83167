"""What the pages claim to be held by a test is."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@functools.cache
def names_of_tests(path: Path) -> frozenset[str]:
    """As pytest writes them: `test_it`, or `TestThem::test_it` inside a class."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inside = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            names |= {f"{node.name}::{item.name}" for item in inside}
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return frozenset(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_benchmarks_and_pages_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", text):
        assert name in names_of_tests(ROOT / path), f"{path}::{name}"
    for path in re.findall(r"`(benchmarks/\w+\.py)`", text):
        assert (ROOT / path).is_file(), path
    for link in re.findall(r"\]\(([\w./]+\.md)\)", text):
        assert (page.parent / link).is_file(), link


def test_every_defect_has_its_line_and_its_test():
    text = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", text, re.M)
    assert len(rows) >= 26
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    for number, _, _, tests in rows:
        assert "::test_" in tests, number


def test_classes_of_tests_are_known():
    names = names_of_tests(ROOT / "tests" / "util" / "test_assets.py")
    assert "TestBfm09::test_auto_converts_once_and_then_reads" in names
    assert not names & {"test_auto_converts_once_and_then_reads", "TestBfm09::test_missing"}


def test_every_agreement_has_its_test():
    text = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    claims = [row for row in rows if not row.startswith(("| what", "| ---"))]
    assert len(claims) > 20
    for row in claims:
        assert "::test_" in row, row
