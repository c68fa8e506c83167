"""The official validator of glTF files (Khronos, npm package gltf-validator), where it is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_PROGRAM = """
const validator = require("gltf-validator"), fs = require("fs");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then((report) => console.log(JSON.stringify(report.issues.messages)));
"""


def validation_problems(path: Path) -> list[str]:
    """What it finds in a file, of any severity; skips the test where it cannot be run."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is missing, which runs the official glTF validator")
    environment = dict(os.environ)
    if npm := shutil.which("npm"):
        found = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, timeout=60)
        folders = [environment.get("NODE_PATH", ""), found.stdout.strip()]
        environment["NODE_PATH"] = os.pathsep.join(filter(None, folders))
    result = subprocess.run(
        [node, "-e", _PROGRAM, str(path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    if "Cannot find module" in result.stderr:
        pytest.skip("the official glTF validator is missing (npm install -g gltf-validator)")
    assert result.returncode == 0, result.stderr
    return [f"{m['code']} {m.get('pointer', '')}" for m in json.loads(result.stdout)]
