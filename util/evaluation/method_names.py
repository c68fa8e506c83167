"""What the rows of a method are called."""

from __future__ import annotations

from pathlib import Path

from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions
from options.flags import ParsedOptions
from options.network_options import SynergyModelOptions
from util.errors import InputError


def method_name(options: ParsedOptions) -> str:
    """The name of the method's rows and of its folder.

    Raises:
        InputError: one that no folder can have.
    """
    return _checked_name(options[EvaluateOptions].method_name or _default_name(options))


def file_stem(method: str) -> str:
    """A method's name as that of a file."""
    return method.replace(" ", "_")


def method_folder(out: Path, method: str) -> Path:
    """What a benchmark writes of one method goes there."""
    return out / file_stem(method)


def _default_name(options: ParsedOptions) -> str:
    """`mine_20`, `best`, `fit`."""
    base, chosen = options[BaseOptions], options[EvaluateOptions]
    if chosen.predictions:
        path = Path(chosen.predictions)
        return path.resolve().name if path.is_dir() else path.stem
    if base.model in ("fit", "mean"):
        return base.model
    if SynergyModelOptions in options and options[SynergyModelOptions].weights:
        return Path(options[SynergyModelOptions].weights).name.partition(".")[0]
    return f"{base.name}_{base.epoch}"


def _checked_name(name: str) -> str:
    """A method's name, which is that of a folder too."""
    if name and (Path(name).name != name or name in (".", "..")):
        raise InputError(f"--method_name {name} cannot name a folder; leave out / and \\")
    return name
