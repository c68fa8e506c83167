"""The project is run from its folder: installing it must not claim common module names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
COMMON_NAMES = {"models", "data", "options", "util", "train", "test", "BFM", "tests", "benchmarks"}


def test_a_wheel_holds_no_modules(tmp_path: Path):
    """As setuptools itself sees it: pyproject.toml and the tree's shape are what a build reads."""
    pytest.importorskip("setuptools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "README.md").write_text("# readme\n", encoding="utf-8")
    (tmp_path / "LICENSE").write_text("licence\n", encoding="utf-8")
    for name in ("models", "data", "options", "util"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    program = (
        "from setuptools.dist import Distribution\n"
        "dist = Distribution()\n"
        "dist.parse_config_files()\n"
        "dist.set_defaults()\n"
        "print('packages', sorted(dist.packages or []))\n"
        "print('modules', sorted(dist.py_modules or []))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == ["packages []", "modules []"]


def test_nothing_of_ours_is_in_site_packages():
    for folder in {Path(path) for path in sys.path if "site-packages" in path}:
        for name in COMMON_NAMES - {"test", "tests"}:
            assert not (folder / name / "__init__.py").is_file(), folder / name
            assert not (folder / f"{name}.py").is_file(), folder / name


def test_models_data_options_util_are_those_of_the_project():
    import data
    import models
    import options
    import util

    for module in (data, models, options, util):
        assert module.__file__ is not None
        assert Path(module.__file__).resolve().parent.parent == ROOT


def test_environment_installs_what_pyproject_names():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    # The project itself, so that its dependencies are listed in one place only.
    (own,) = [line for line in pip if line.startswith(".")]
    extras = set(re.findall(r"\w+", own))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    known = set(
        re.findall(r"^(\w+) = \[", text.split("[project.optional-dependencies]")[1], re.MULTILINE)
    )
    assert {"cuda", "insightface", "tensorflow", "webdataset", "dev"} <= known
    assert "dev" in extras and extras <= known
    (python,) = [line for line in environment["dependencies"] if str(line).startswith("python")]
    requires = re.search(r'requires-python = "(>=[\d.]+)', text)
    assert requires is not None and requires.group(1) in python
