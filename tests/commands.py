"""Commands as modules, to be called in the process of the test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def load_script(name: str) -> ModuleType:
    """A command of the root, under a name that no installed module has."""
    return _load(f"command_{name}", ROOT / f"{name}.py")


def load_tool(folder: str, name: str) -> ModuleType:
    """A command of `tools/`, likewise."""
    return _load(f"command_{folder}_{name}", ROOT / "tools" / folder / f"{name}.py")


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the types of their fields
    spec.loader.exec_module(module)
    return module
