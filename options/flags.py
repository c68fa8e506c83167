"""Generate command-line flags from documented dataclasses and parse them back.

A command is a list of frozen dataclasses, one per concern. Each field becomes the flag of its own
name, with the docstring under the field as help. `--config file.yaml` becomes flags placed before
the command line, so that command line > YAML > defaults and one path checks all of them. The file
may have sections, one for each dataclass, and then serves several commands: each takes its own.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import inspect
import itertools
import re
import shlex
import sys
import textwrap
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from util.errors import InputError

Group = TypeVar("Group")

SECTIONS = (
    *("base", "train", "loader", "display", "distributed", "optimiser", "face_model"),
    *("synergy", "ddfa", "datatool", "evaluate", "export", "synergy_model", "synergy_test"),
    *("detection", "smoothing", "benchmark_fit", "animate", "app", "ict_benchmark"),
    "scan_benchmark",
)
"""Sections that a config file may have though the command that reads it has no such options:
another command has. Any command's own are known without being listed here."""

NO_EFFECT = "no_effect"
"""Key in a field's metadata: why its flag, which is accepted, changes nothing."""


def no_effect(default: Any, reason: str) -> Any:
    """A field whose flag public command lines may give, though nothing depends on it.

    A command line that gives it is told so in one line: nobody should believe that it works.

    Args:
        default: the public code's.
        reason: why it means nothing here; completes "--flag has no effect: ".
    """
    return dataclasses.field(default=default, metadata={NO_EFFECT: reason})


def without_effect(owners: Iterable[type], reasons: Mapping[str, str]) -> type:
    """A group that accepts flags of other groups where nothing depends on them.

    Args:
        owners: option dataclasses; types and defaults are theirs, their checks are left out.
        reasons: the flags, each with its reason as for `no_effect`.
    """
    accepted = {
        f.name: (f.name, get_type_hints(owner)[f.name], no_effect(f.default, reasons[f.name]))
        for owner in owners
        for f in fields(owner)
        if f.name in reasons
    }
    title = {"__doc__": "Accepted for public command lines."}
    return dataclasses.make_dataclass(
        "WithoutEffect", accepted.values(), frozen=True, namespace=title
    )


def flag_name(field: Field) -> str:
    """The flag of a field: its name, without the `_` behind what Python has as a word (`with_`)."""
    return field.name.removesuffix("_")


def flag_names(groups: Iterable[type]) -> set[str]:
    """The flags of option dataclasses."""
    return {flag_name(field) for group in groups for field in fields(group)}


class ParsedOptions:
    """The parsed groups of one command, found by their class: `options[TrainOptions]`."""

    def __init__(self, groups: Sequence[Any], given: frozenset[str] = frozenset()) -> None:
        """Hold one instance of each group class, and the names of the flags that were given."""
        self._groups = {type(group): group for group in groups}
        self._given = given

    def __getitem__(self, group: type[Group]) -> Group:
        return self._groups[group]

    def __contains__(self, group: type) -> bool:
        return group in self._groups

    def __iter__(self):
        return iter(self._groups.values())

    def given(self, flag: str) -> bool:
        """Whether the command line or a config file set this flag."""
        return flag in self._given

    def flat(self) -> dict[str, Any]:
        """Every flag with its value, in the order of the groups."""
        return {flag_name(f): getattr(g, f.name) for g in self for f in fields(g)}

    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Flags that stand otherwise than by default: the value and the default."""
        found = {}
        for group in self:
            for field in fields(group):
                value, default = getattr(group, field.name), field.default
                if field.default_factory is not MISSING:
                    default = field.default_factory()
                if NO_EFFECT not in field.metadata and value != default:
                    found[field.name] = value, default
        return found

    def with_values(self, group: type, **values: Any) -> ParsedOptions:
        """A copy in which some fields of one group differ."""
        changed = [replace(g, **values) if type(g) is group else g for g in self]
        return ParsedOptions(changed, self._given)


_CHOICES = "--model, --dataset_mode and --benchmark or --ict"
"""Flags that decide which others there are."""


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Examples keep their lines, and flags tell their defaults."""


class _Parser(argparse.ArgumentParser):
    """Raises in place of printing usage, so that errors look the same for flags and files."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; run with --help for all flags")


def parse_command(
    groups: Sequence[type] | Callable[[dict[str, str]], Sequence[type]],
    argv: Sequence[str] | None = None,
    description: str = "",
) -> ParsedOptions:
    """Parse a command line into its option groups.

    Args:
        groups: option dataclasses; or a function from the flags given so far (strings by name) to
            them, for commands in which one flag (`--model`) decides which others exist.
        argv: arguments without the program's name; default `sys.argv[1:]`.
        description: first lines of `--help`.

    Raises:
        InputError: unknown flag or YAML key, value of the wrong type, unreadable config.
    """
    typed = list(sys.argv[1:] if argv is None else argv)
    entries, rest = _expand_configs(typed)
    try:
        given = _peek([*_tokens(entries), *rest])
        classes = list(groups(given) if callable(groups) else groups)
    except ValueError as error:  # a registry does not know a name
        raise InputError(str(error)) from error
    entries = _of_sections(entries, classes)
    arguments = [*_tokens(entries), *rest]
    sources = {entry.name: entry.path for entry in entries}

    parser = _Parser(
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="YAML", help="file of flags; those on the command line win"
    )
    seen: dict[str, type] = {}
    for group in classes:
        title = textwrap.dedent(group.__doc__ or group.__name__).strip().splitlines()[0]
        section = parser.add_argument_group(title.rstrip("."))
        help_texts = field_docs(group)
        hints = get_type_hints(group)
        for field in fields(group):
            name = flag_name(field)
            if name in seen:
                raise ValueError(f"--{name} is in {seen[name]} and {group}")
            seen[name] = group
            _add_flag(section, field, hints[field.name], help_texts.get(field.name, ""))

    for name, path in sources.items():
        if name not in seen:
            raise InputError(
                f"--config {path}: {name} is no flag of this command"
                f"{did_you_mean([name], seen)}; run with --help for all flags"
            )
    try:
        namespace, unknown = parser.parse_known_args(arguments)
        if unknown:
            flags = [token.partition("=")[0] for token in unknown if token.startswith("-")]
            hint = did_you_mean(flags, ["config", *seen]) or _flag_of_a_path(unknown, seen)
            if callable(groups) and not hint:
                hint = f" (flags depend on {_CHOICES}, whose --help lists theirs)"
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        values = vars(namespace)
    except InputError as error:
        for name, path in sources.items():
            if f"--{name}:" in str(error):
                raise InputError(f"{error} (from --config {path}, or given after it)") from error
        raise
    built = []
    for group in classes:
        try:
            built.append(group(**{f.name: values[flag_name(f)] for f in fields(group)}))
        except ValueError as error:  # a group's own __post_init__ checks
            raise InputError(str(error)) from error
    _say_what_has_no_effect(classes, _peek(typed))
    return ParsedOptions(built, frozenset(_peek(arguments)))


def section_name(group: type) -> str:
    """The section of a config file that is for a dataclass: `SynergyOptions` has `synergy`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", group.__name__.removesuffix("Options"))
    return words.lower()


def _of_sections(entries: list[_Entry], classes: Sequence[type]) -> list[_Entry]:
    """The entries that are for this command, after a look at the sections that they stand in.

    Raises:
        InputError: no such section, or it has no such option.
    """
    own = {section_name(group): flag_names([group]) for group in classes}
    kept = []
    for entry in entries:
        section, where = entry.section, f"--config {entry.path}: "
        if section and section not in own:
            if section not in SECTIONS:
                raise InputError(
                    f"{where}there is no section {section}"
                    f"{did_you_mean([section], {*own, *SECTIONS}, '')}; a section is named after "
                    "the options that it holds"
                )
            continue
        if section and entry.name not in own[section]:
            raise InputError(
                f"{where}section {section} has no {entry.name}"
                f"{did_you_mean([entry.name], own[section], '')}; run with --help for all flags"
            )
        kept.append(entry)
    return kept


def did_you_mean(typed: Iterable[str], names: Iterable[str], dashes: str = "--") -> str:
    """What misspelt flags may stand for, as ` (did you mean --x?)`; empty where nothing is near.

    The public commands take the beginning of a flag for the whole; such are completed first.
    """
    names, found = list(names), {}
    for flag in typed:
        word = flag.strip("-").replace("-", "_").lower()
        begun = [name for name in names if word and name.startswith(word)]
        lower = {name.lower(): name for name in names}
        near = [lower[name] for name in difflib.get_close_matches(word, lower, n=1, cutoff=0.7)]
        found |= dict.fromkeys(begun if 0 < len(begun) <= 3 else near)
    meant = " or ".join(f"{dashes}{name}" for name in found)
    return f" (did you mean {meant}?)" if found else ""


_BARE = {
    "img_folder": "photos are given by",
    "img_path": "photos are given by",
    "flist": "a list of prepared photos is given by",
    "out": "the folder of results is given by",
}
"""What people type without a flag, by the flag that it may have been meant for."""


def _flag_of_a_path(typed: Sequence[str], names: Collection[str]) -> str:
    """How to give what was typed without a flag, as ` (photos are given by --img_folder x)`."""
    flag = next((flag for flag in _BARE if flag in names), "")
    return f" ({_BARE[flag]} --{flag} {typed[0]})" if flag and typed[0][0] != "-" else ""


def _say_what_has_no_effect(classes: Sequence[type], typed: dict[str, str]) -> None:
    """One line for each flag that was typed in vain; saved options name all flags, so not those."""
    for group in classes:
        for option in fields(group):
            if option.name in typed and NO_EFFECT in option.metadata:
                print(f"--{option.name} has no effect: {option.metadata[NO_EFFECT]}")


@cache
def field_docs(group: type) -> dict[str, str]:
    """The docstring literal under each field of a dataclass, as one line.

    Flags without effect need none; groups of nothing else are generated and have no source.
    """
    if all(NO_EFFECT in field.metadata for field in fields(group)):
        return {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(group)))
    body = tree.body[0].body  # pyright: ignore[reportAttributeAccessIssue]
    docs = {}
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            text = ast.literal_eval(following.value)
            docs[statement.target.id] = " ".join(text.split())  # pyright: ignore
    return docs


def _add_flag(section: argparse._ArgumentGroup, field: Field, hint: Any, help_text: str) -> None:
    """Add the flag of one dataclass field."""
    if field.default is MISSING:
        raise ValueError(f"option {field.name} needs a default")
    if reason := field.metadata.get(NO_EFFECT):
        help_text = f"No effect: {reason}."
    settings: dict[str, Any] = {"default": field.default, "help": help_text.replace("%", "%%")}
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = next(a for a in get_args(hint) if a is not type(None))
        settings["type"] = _optional(inner)
        settings["metavar"] = inner.__name__.upper()
    elif hint is bool:
        # `--flag`, `--flag False` and `--flag=False`, as users of the public code write them.
        settings |= {"type": _boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
    elif origin is Literal:
        settings |= {"choices": get_args(hint), "type": type(get_args(hint)[0])}
    elif origin is tuple:
        settings |= {"nargs": "+", "type": get_args(hint)[0], "action": _AsTuple}
    else:
        settings |= {"type": hint, "metavar": getattr(hint, "__name__", str(hint)).upper()}
    section.add_argument(f"--{flag_name(field)}", **settings)


class _AsTuple(argparse.Action):
    """Stores many values as a tuple, since option dataclasses are immutable."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))  # pyright: ignore[reportArgumentType]


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "t", "yes", "y", "1", "on"):
        return True
    if lowered in ("false", "f", "no", "n", "0", "off"):
        return False
    hint = "; photos stand before the flags" if Path(text).exists() else ""
    raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False{hint}")


def _optional(inner: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return None if text.lower() == "none" else inner(text)

    convert.__name__ = inner.__name__
    return convert


def _peek(arguments: Sequence[str]) -> dict[str, str]:
    """The flags as given, last one wins, without knowing which exist."""
    given: dict[str, str] = {}
    for position, token in enumerate(arguments):
        if not token.startswith("--"):
            continue
        name, has_value, value = token[2:].partition("=")
        if not has_value and position + 1 < len(arguments):
            value = arguments[position + 1]
        given[name] = value
    return given


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One flag of a config file."""

    name: str
    tokens: tuple[str, ...]
    path: Path
    section: str = ""


def _tokens(entries: Iterable[_Entry]) -> list[str]:
    return [token for entry in entries for token in entry.tokens]


def _expand_configs(arguments: list[str]) -> tuple[list[_Entry], list[str]]:
    """Take `--config FILE` out of the arguments.

    Returns:
        The files' entries, which come before all others; and the other arguments.
    """
    expanded: list[_Entry] = []
    rest: list[str] = []

    def expand(path: Path) -> None:
        expanded.extend(_config_entries(path))

    position = 0
    while position < len(arguments):
        token = arguments[position]
        if token == "--config":
            if position + 1 == len(arguments):
                raise InputError("--config needs a YAML file, such as configs/quick.yaml")
            expand(Path(arguments[position + 1]))
            position += 2
        elif token.startswith("--config="):
            expand(Path(token.removeprefix("--config=")))
            position += 1
        else:
            rest.append(token)
            position += 1
    return expanded, rest


def config_flags(path: Path) -> list[str]:
    """A YAML file's entries as command-line flags, those of all sections.

    Raises:
        InputError: missing file, not YAML, not a mapping of flags to plain values.
    """
    return _tokens(_config_entries(path))


def _config_entries(path: Path) -> list[_Entry]:
    """The flags of a YAML file, in its order."""
    if not path.is_file():
        raise InputError(f"--config {path} does not exist; configs/ holds the documented recipes")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"--config {path} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if entries is None:
        return []
    if not isinstance(entries, dict):
        raise InputError(f"--config {path} must map flags to values, as `batch_size: 32`")
    flags: list[_Entry] = []

    def add(key: Any, value: Any, section: str = "") -> None:
        if isinstance(value, dict):
            raise InputError(
                f"--config {path}: {key} holds a mapping; flags stand at the top or in one section"
            )
        flags.append(_Entry(str(key), tuple(flag_tokens(str(key), value)), path, section))

    for key, value in entries.items():
        if isinstance(value, dict):
            for inner, plain in value.items():
                add(inner, plain, str(key))
        else:
            add(key, value)
    return flags


def as_typed(values: Mapping[str, Any]) -> str:
    """Flags with their values as a command line for people: `--save glb ply --report False`."""
    tokens = []
    for name, value in values.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        tokens += [f"--{name}", *(shlex.quote(str(part)) for part in parts)]
    return " ".join(tokens)


def flag_tokens(name: str, value: Any) -> list[str]:
    """One flag with its value as command-line tokens."""
    if isinstance(value, (list, tuple)):
        return [f"--{name}", *map(str, value)] if value else []
    return [f"--{name}={value}"]
