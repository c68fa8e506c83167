"""Flags generated from dataclasses: every kind of value, precedence of sources, clear errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from options.flags import ParsedOptions, config_flags, field_docs, flag_tokens, parse_command
from util.errors import InputError


@dataclass(frozen=True)
class Paint:
    """How walls are painted.

    More text that help does not need.
    """

    colour: Literal["red", "green"] = "red"
    """Colour of the walls,
    over two lines; 100 % cover."""
    coats: int = 2
    """Number of coats."""
    thickness: float = 0.5
    """Millimetres."""
    glossy: bool = False
    """Shiny."""
    primed: bool = True
    """On primer."""
    name: str = "wall"
    rooms: tuple[str, ...] = ()
    """Rooms to paint."""
    limit: int | None = None
    """At most so many walls."""
    note: str | None = "none yet"
    """Free text."""

    def __post_init__(self) -> None:
        if self.coats < 1:
            raise ValueError(f"--coats is {self.coats}; it must be at least 1")


@dataclass(frozen=True)
class Crew:
    """Who paints."""

    painters: int = 1
    """People."""


def paint(*argv: str) -> Paint:
    return parse_command([Paint, Crew], argv)[Paint]


def test_defaults_come_from_the_dataclass():
    assert paint() == Paint()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--glossy"], True),
        (["--glossy", "True"], True),
        (["--glossy=True"], True),
        (["--glossy", "yes"], True),
        (["--glossy=1"], True),
        (["--glossy", "False"], False),
        (["--glossy=false"], False),
        (["--glossy", "0"], False),
        (["--glossy=no"], False),
        (["--glossy", "--coats", "3"], True),
    ],
)
def test_booleans_as_users_of_the_public_code_write_them(argv: list[str], expected: bool):
    assert paint(*argv).glossy is expected


def test_a_true_default_can_be_switched_off():
    assert paint("--primed", "False").primed is False
    assert paint("--primed").primed is True


def test_numbers_and_strings():
    options = paint("--coats", "7", "--thickness=1e-4", "--name", "größte Wand")
    assert (options.coats, options.thickness, options.name) == (7, 1e-4, "größte Wand")
    assert paint("--thickness", "inf").thickness == float("inf")
    assert paint("--thickness", "-3").thickness == -3
    assert paint("--name", "-1").name == "-1"
    assert paint("--name=").name == ""


def test_the_last_of_two_wins():
    assert paint("--coats", "3", "--coats", "4").coats == 4


def test_tuples_take_several_values():
    assert paint("--rooms", "hall", "a b").rooms == ("hall", "a b")
    assert paint("--rooms", "hall", "--coats", "3").rooms == ("hall",)
    assert isinstance(paint("--rooms=hall").rooms, tuple)


def test_optional_values():
    assert paint().limit is None
    assert paint("--limit", "3").limit == 3
    assert paint("--limit", "none").limit is None
    assert paint("--note", "None").note is None
    assert paint("--note", "fine").note == "fine"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--coat", "3"], "--coat"),  # no abbreviations
        (["--colour", "blue"], "blue"),
        (["--coats", "many"], "--coats"),
        (["--coats", "1.5"], "--coats"),
        (["--thickness", "thin"], "--thickness"),
        (["--glossy", "perhaps"], "perhaps"),
        (["--limit", "x"], "--limit"),
        (["--rooms"], "--rooms"),
        (["--coats"], "--coats"),
        (["stray"], "stray"),
        (["--unknown_flag", "3"], "--unknown_flag"),
        (["--unknown_flag=3"], "--unknown_flag"),
        (["--config"], "--config"),
        (["--coats", "0"], "--coats is 0"),
    ],
)
def test_bad_flags_are_input_errors_that_name_them(argv: list[str], named: str):
    with pytest.raises(InputError, match=named):
        paint(*argv)


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--coat", "3"], " (did you mean --coats?)"),
        (["--coast=3"], " (did you mean --coats?)"),
        (["--color", "red"], " (did you mean --colour?)"),
        (["--Glossy"], " (did you mean --glossy?)"),
        (["-painters", "2"], " (did you mean --painters?)"),
        (["--p"], " (did you mean --primed or --painters?)"),
        (["--glosy", "--rom", "hall"], " (did you mean --glossy or --rooms?)"),
        (["--confg=a.yaml"], " (did you mean --config?)"),
        (["--ceiling"], ""),
        (["--name", "a", "b"], ""),
    ],
)
def test_misspelt_flags_come_with_the_likely_one(argv: list[str], hint: str):
    with pytest.raises(InputError) as caught:
        paint(*argv)
    assert str(caught.value).startswith("unrecognized arguments: ")
    assert str(caught.value).endswith(f"{hint}; run with --help for all flags")
    assert hint or "did you mean" not in str(caught.value)


def test_misspelt_entries_of_a_config_come_with_the_likely_one(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("coat: 3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"coat is no flag .* \(did you mean --coats\?\); run"):
        paint("--config", str(path))


def test_groups_are_found_by_their_class():
    options = parse_command([Paint, Crew], ["--painters", "4"])
    assert options[Crew].painters == 4
    assert Crew in options and int not in options
    assert [type(group) for group in options] == [Paint, Crew]
    assert options.flat()["painters"] == 4
    assert next(iter(options.flat())) == "colour"


def test_given_tells_flags_from_defaults(tmp_path: Path):
    config = tmp_path / "a.yaml"
    config.write_text("thickness: 2\n", encoding="utf-8")
    options = parse_command([Paint, Crew], ["--coats=2", "--glossy", "--config", str(config)])
    assert all(options.given(flag) for flag in ("coats", "glossy", "thickness"))
    assert not options.given("painters")


def test_with_values_changes_a_copy():
    options = parse_command([Paint, Crew], ["--coats", "3"])
    changed = options.with_values(Paint, thickness=9.0)
    assert (changed[Paint].coats, changed[Paint].thickness) == (3, 9.0)
    assert options[Paint].thickness == 0.5
    assert changed.given("coats") and not changed.given("thickness")


def test_groups_may_depend_on_the_flags_given():
    def groups(given: dict[str, str]) -> list[type]:
        return [Paint, Crew] if given.get("colour") == "green" else [Paint]

    assert parse_command(groups, ["--colour=green", "--painters", "2"])[Crew].painters == 2
    assert parse_command(groups, ["--colour", "green"])[Crew].painters == 1
    with pytest.raises(InputError, match="--painters"):
        parse_command(groups, ["--painters", "2"])


def test_a_refusal_while_choosing_groups_is_an_input_error():
    """Such as a registry's: `--model` is unknown."""

    def groups(given: dict[str, str]) -> list[type]:
        raise ValueError(f"--model {given['model']} is unknown; choose one of a, b")

    with pytest.raises(InputError, match="--model x is unknown"):
        parse_command(groups, ["--model", "x"])


def test_a_flag_of_two_groups_is_a_programming_error():
    @dataclass(frozen=True)
    class Again:
        """Repeats a flag."""

        coats: int = 1
        """Coats."""

    with pytest.raises(ValueError, match="--coats is in"):
        parse_command([Paint, Again], [])


def test_a_field_without_default_is_a_programming_error():
    @dataclass(frozen=True)
    class Demanding:
        """Needs a value."""

        coats: int
        """Coats."""

    with pytest.raises(ValueError, match="coats needs a default"):
        parse_command([Demanding], [])


def test_field_docs_are_the_literals_below_the_fields():
    docs = field_docs(Paint)
    assert docs["coats"] == "Number of coats."
    assert docs["colour"] == "Colour of the walls, over two lines; 100 % cover."
    assert "name" not in docs


def test_help_is_grouped_and_complete(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse_command([Paint, Crew], ["--help"], "Paint the house.")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Paint the house." in text
    assert "How walls are painted:" in text and "Who paints:" in text
    assert "100 % cover. (default: red)" in text
    for flag in ("--colour {red,green}", "--coats INT", "--rooms", "--limit INT", "--painters INT"):
        assert flag in text


class TestConfig:
    """`--config file.yaml`."""

    def write(self, tmp_path: Path, text: str, name: str = "a.yaml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def test_command_line_beats_yaml_beats_defaults(self, tmp_path: Path):
        config = self.write(tmp_path, "coats: 5\nthickness: 0.25\n")
        for argv in (
            ["--config", config, "--coats", "9"],
            ["--coats", "9", "--config", config],
            ["--coats=9", f"--config={config}"],
        ):
            options = paint(*argv)
            assert (options.coats, options.thickness, options.colour) == (9, 0.25, "red")

    def test_the_later_of_two_files_wins(self, tmp_path: Path):
        first = self.write(tmp_path, "coats: 5\nthickness: 0.25\n")
        second = self.write(tmp_path, "coats: 6\n", "b.yaml")
        options = paint("--config", first, "--config", second)
        assert (options.coats, options.thickness) == (6, 0.25)

    def test_every_kind_of_value(self, tmp_path: Path):
        text = """
            # a comment
            colour: green
            coats: 3
            thickness: 1e-4      # YAML 1.1 reads this as a string
            glossy: yes
            primed: false
            name: "  two words "
            rooms: [hall, living room]
            limit: null
            note: none
        """
        import textwrap

        options = paint("--config", self.write(tmp_path, textwrap.dedent(text)))
        assert options == Paint(
            colour="green",
            coats=3,
            thickness=1e-4,
            glossy=True,
            primed=False,
            name="  two words ",
            rooms=("hall", "living room"),
            limit=None,
            note=None,
        )

    def test_rooms_of_the_command_line_replace_those_of_the_file(self, tmp_path: Path):
        config = self.write(tmp_path, "rooms: [hall, bath]\n")
        assert paint("--config", config, "--rooms", "attic").rooms == ("attic",)

    def test_values_that_look_like_flags_or_numbers(self, tmp_path: Path):
        config = self.write(tmp_path, "name: -1\nnote: --coats\n")
        assert (paint("--config", config).name, paint("--config", config).note) == ("-1", "--coats")

    def test_an_empty_file_changes_nothing(self, tmp_path: Path):
        assert paint("--config", self.write(tmp_path, "# nothing\n")) == Paint()

    def test_a_byte_order_mark_is_ignored(self, tmp_path: Path):
        path = tmp_path / "bom.yaml"
        path.write_bytes(b"\xef\xbb\xbfcoats: 4\r\n")
        assert paint("--config", str(path)).coats == 4

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("unknown_key: 3\n", "unknown_key"),
            ("coats: many\n", "coats"),
            ("coats: 0\n", "--coats is 0"),
            ("colour: blue\n", "blue"),
            ("coats: {a: 1}\n", "no section coats"),
            ("- coats\n", "must map flags to values"),
            ("just text\n", "must map flags to values"),
            ("coats: [1\n", "not valid YAML"),
            ("config: other.yaml\n", "config"),
            ("help: true\n", "help"),
            ("3: 4\n", "3"),
        ],
    )
    def test_bad_files_are_input_errors(self, tmp_path: Path, text: str, named: str):
        with pytest.raises(InputError, match=named):
            paint("--config", self.write(tmp_path, text))

    def test_an_unknown_key_is_named_with_its_file(self, tmp_path: Path):
        config = self.write(tmp_path, "coats: 3\nlamps: 4\n", "recipe.yaml")
        with pytest.raises(InputError, match=r"recipe\.yaml.*lamps|lamps.*recipe\.yaml"):
            paint("--config", config)

    def test_objects_are_not_built(self, tmp_path: Path):
        config = self.write(tmp_path, "name: !!python/object/apply:os.getcwd []\n")
        with pytest.raises(InputError, match="not valid YAML"):
            paint("--config", config)

    def test_binary_and_missing_files(self, tmp_path: Path):
        path = tmp_path / "picture.yaml"
        path.write_bytes(b"\x89PNG\xff\xfe\x00")
        with pytest.raises(InputError, match=r"picture\.yaml is not valid YAML"):
            paint("--config", str(path))
        with pytest.raises(InputError, match=r"nothing\.yaml does not exist"):
            paint("--config", str(tmp_path / "nothing.yaml"))
        with pytest.raises(InputError, match="does not exist"):
            paint("--config", str(tmp_path))


def test_flag_tokens_keep_values_apart():
    assert flag_tokens("name", "a b") == ["--name=a b"]
    assert flag_tokens("rooms", ["a", "b c"]) == ["--rooms", "a", "b c"]
    assert flag_tokens("rooms", []) == []
    assert flag_tokens("glossy", True) == ["--glossy=True"]


def test_config_flags_in_the_order_of_the_file(tmp_path: Path):
    path = tmp_path / "ü ber.yaml"
    path.write_text("b: 1\na: 2\n", encoding="utf-8")
    assert config_flags(path) == ["--b=1", "--a=2"]


def test_parsed_options_hold_one_group_of_a_class():
    options = ParsedOptions([Paint(), Crew(3)])
    assert options[Crew].painters == 3
    with pytest.raises(KeyError):
        options[int]


class TestSections:
    """`--config file.yaml` with a section for each dataclass."""

    def write(self, tmp_path: Path, text: str) -> str:
        (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "a.yaml")

    def test_a_command_takes_its_own_sections(self, tmp_path: Path):
        text = "paint:\n  coats: 5\ncrew:\n  painters: 3\n"
        text += "synergy:\n  arch: other\nexport: {opset: 3}\n"
        options = parse_command([Paint, Crew], ["--config", self.write(tmp_path, text)])
        assert options[Paint].coats == 5 and options[Crew].painters == 3
        assert options.given("coats") and not options.given("arch")

    def test_sections_and_flags_stand_together_and_the_command_line_wins(self, tmp_path: Path):
        config = self.write(tmp_path, "thickness: 0.5\npaint: {coats: 5, rooms: [hall, bath]}\n")
        found = parse_command([Paint], ["--config", config, "--coats", "7"])[Paint]
        assert (found.thickness, found.coats, found.rooms) == (0.5, 7, ("hall", "bath"))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("pain: {coats: 5}\n", r"no section pain \(did you mean paint\?\)"),
            ("paint: {coat: 5}\n", r"section paint has no coat \(did you mean coats\?\)"),
            ("crew: {coats: 5}\n", "section crew has no coats"),
            ("paint: {coats: {a: 1}}\n", "coats holds a mapping"),
            ("synergi: {arch: 5}\n", r"did you mean synergy\?"),
        ],
    )
    def test_misspelt_ones_are_named(self, tmp_path: Path, text: str, words: str):
        with pytest.raises(InputError, match=words):
            parse_command([Paint, Crew], ["--config", self.write(tmp_path, text)])


@dataclass(frozen=True)
class Reserved:
    """A flag that Python has as a word."""

    with_: str = "brush"
    """Tool."""


def test_flags_may_be_words_of_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """On the command line, in a file, in what is recorded and in the help: never with the `_`."""
    parsed = parse_command([Reserved], ["--with", "roller"])
    assert parsed[Reserved].with_ == "roller"
    assert parsed.flat() == {"with": "roller"} and parsed.given("with")
    config = tmp_path / "paint.yaml"
    config.write_text("with: spray\n", encoding="utf-8")
    assert parse_command([Reserved], ["--config", str(config)])[Reserved].with_ == "spray"
    with pytest.raises(SystemExit):
        parse_command([Reserved], ["--help"])
    told = capsys.readouterr().out
    assert "--with " in told and "with_" not in told
    with pytest.raises(InputError, match="with_"):
        parse_command([Reserved], ["--with_", "roller"])
