"""Who asks a benchmark for help is told what it measures, and waits for no measurement."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
COMMANDS = [
    path.stem for path in sorted(BENCHMARKS.glob("*.py")) if "__main__" in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_printed(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    benchmark = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code in (0, None)
    assert capsys.readouterr().out.startswith("usage: ")
