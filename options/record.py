"""Save a run's options: for people (`train_opt.txt`) and for `--config` (`options.yaml`)."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from options.flags import ParsedOptions
from util.atomic import write_text


def write_options(options: ParsedOptions, folder: Path, phase: str) -> None:
    """Write `<phase>_opt.txt` and `options.yaml` (or `<phase>_options.yaml`) into a run's folder.

    The YAML names the git commit in a comment and can be given to `--config` as it is. Under
    `--verbose` the options are printed too.
    """
    flat = options.flat()
    commit = git_commit()
    rows = [f"{name:>25}: {value!s:<30}" for name, value in flat.items()]
    header = "----------------- Options ---------------"
    footer = "----------------- End -------------------"
    text = "\n".join([header, *rows, f"{'git_commit':>25}: {commit}", footer, ""])
    write_text(folder / f"{phase}_opt.txt", text)
    if flat.get("verbose"):
        print(text)

    plain = {name: _plain(value) for name, value in flat.items() if value != ()}
    body = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    write_text(folder / _yaml_name(phase), f"# git commit {commit}\n{body}")


def changed_options(
    options: ParsedOptions, folder: Path, phase: str, names: Iterable[str]
) -> dict[str, tuple[Any, Any]]:
    """Flags that an earlier run into a folder had other values of: the earlier and the new value.

    Nothing where the folder holds no record that can be read.

    Args:
        options: of this run.
        folder: that `write_options` wrote into.
        phase: of the earlier run.
        names: of the flags that are compared.
    """
    try:
        saved = yaml.safe_load((folder / _yaml_name(phase)).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(saved, dict):
        return {}
    flat = options.flat()
    now = {name: _plain(flat[name]) for name in names}
    return {
        name: (saved[name], value)
        for name, value in now.items()
        if name in saved and saved[name] != value
    }


def git_commit() -> str:
    """The commit of the code that runs; "unknown" outside of a repository.

    That of an edited tree ends with "+changes:" and a hash of them, for each edit another.
    """
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=10,
        )
        return result.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("diff", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    digest = hashlib.sha256(changed.encode()).hexdigest()[:8]
    return commit + (f"+changes:{digest}" if changed else "")


def _yaml_name(phase: str) -> str:
    return "options.yaml" if phase == "train" else f"{phase}_options.yaml"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if value is None:
        return "none"
    return value
