"""Command lines of SynergyNet (github.com/choyingw/SynergyNet), and of its config-driven form.

Each public flag with its public default. Flags that are not public are ours and are taken too;
docs/synergynet_use.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.images import check_image, is_image_name, list_images
from data.video_kind import check_video_file
from options.base_options import BaseOptions
from options.data_options import DetectionOptions
from options.face_options import SYNERGY_CROP_PX
from options.fitting_weights import SmoothingOptions
from options.flags import ParsedOptions, config_flags, no_effect, parse_command
from options.groups import SYNERGY_GROUPS
from options.network_options import SynergyModelOptions
from util.errors import InputError, of_flag
from util.training.run_choice import find_trained

DEMO_WEIGHTS, BENCHMARK_WEIGHTS = "pretrained/best.pth.tar", "models/best.pth.tar"
_SIZE = "the checkpoint says how large its crops are"
_SHORT = {
    "-f": "--files",
    "-b": "--batch_size",
    "--batch-size": "--batch_size",
    "-num_img": "--num_img",
    "-w": "--weights",
    "-a": "--arch",
    "-d": "--device",
}
"""As the public commands spell their flags, and as ours are called."""


_CONFIG = ("-opt", "--opt")
"""How the config-driven form calls its file."""


@dataclass(frozen=True)
class PublicDemoOptions:
    """singleImage.py, artistic.py and uv_texture_realFaces.py."""

    files: str = ""
    """A photo, or a folder of photos; must be given (-f)."""
    png: bool = False
    """Take the .png files of the folder; else its .jpg."""
    num_img: int = 0
    """Only so many photos of the folder; 0 takes all (-num_img)."""
    img_size: int = no_effect(SYNERGY_CROP_PX, _SIZE)
    batch_size: int = no_effect(1, "a photo's faces go through the network together")

    def __post_init__(self) -> None:
        """Refuse to guess which photos."""
        if not self.files:
            raise InputError("-f is missing; name a photo or a folder of photos: -f my_photos")
        if self.num_img < 0:
            raise InputError(f"--num_img is {self.num_img}; it must be 0 (all) or more")


@dataclass(frozen=True)
class PublicReportOptions:
    """singleImage.py alone."""

    report: bool = True
    """Also write what test.py writes of each face into faces/: <name>_report.html, a page to turn
    and to read, index.html, which shows all, mesh and numbers; of a video, its page into videos/.
    """


@dataclass(frozen=True)
class PublicBenchmarkOptions:
    """benchmark.py."""

    device: str = "0"
    """GPU; without one the CPU is taken (-d)."""
    arch: str = no_effect("mobilenet_v2", "the checkpoint says which network it is")
    img_size: int = no_effect(SYNERGY_CROP_PX, _SIZE)


DEMO_GROUPS = (PublicDemoOptions, BaseOptions, DetectionOptions, *SYNERGY_GROUPS)
SINGLE_IMAGE_GROUPS = (PublicReportOptions, SmoothingOptions, *DEMO_GROUPS)


def demo_options(
    argv: Sequence[str], description: str = "", groups: Sequence[type] = DEMO_GROUPS
) -> ParsedOptions:
    """The command line of a demo; weights where the public code has them unless they are given.

    Args:
        argv: arguments.
        description: of the command.
        groups: its options.

    Raises:
        InputError: unknown flag, wrong value, no photos, or no network.
    """
    options = parse_command(groups, long_flags(argv), description)
    given = any(options.given(flag) for flag in ("weights", "name", "epoch"))
    if not given:
        options = options.with_values(SynergyModelOptions, weights=DEMO_WEIGHTS)
    if not Path(options[PublicDemoOptions].files).exists():
        raise InputError(
            f"-f {options[PublicDemoOptions].files} does not exist; name a photo or a folder of "
            "photos"
        )
    _check_files(options)
    find_trained(options)
    return options


def _check_files(options: ParsedOptions) -> None:
    """Refuse what is neither photo nor folder nor, for singleImage.py, video; say what is in vain.

    Raises:
        InputError: the file that -f names cannot be one by its name and its beginning.
    """
    path = Path(options[PublicDemoOptions].files)
    if path.is_dir():
        with of_flag("-f"):
            list_images(path)
        return
    is_video = names_video(options)
    with of_flag("-f"):
        if is_video and PublicReportOptions in options:
            check_video_file(path)
        else:
            list_images(path)
            check_image(path)
    for flag in ("png", "num_img"):
        if options.given(flag):
            print(f"--{flag} has no effect: -f names a single {'video' if is_video else 'photo'}")


def names_video(options: ParsedOptions) -> bool:
    """Whether -f is a file, and not a photo's: singleImage.py takes it for a video."""
    path = Path(options[PublicDemoOptions].files)
    return path.is_file() and not is_image_name(path)


def benchmark_call(argv: Sequence[str], evaluate_flags: Mapping[str, str] | None = None):
    """What `evaluate.py` is called with for a command line of benchmark.py.

    Args:
        argv: arguments.
        evaluate_flags: defaults of flags of `evaluate.py` in place of its own.
    """
    public, rest = split_flags(long_flags(argv), ("device", "arch", "img_size"))
    options = parse_command([PublicBenchmarkOptions], public)
    names = {token[2:].partition("=")[0] for token in rest if token.startswith("--")}
    defaults = {
        "model": "synergy",
        "benchmark_root": "./aflw2000_data",
        "gpu_ids": options[PublicBenchmarkOptions].device,
        **(evaluate_flags or {}),
    }
    if not names & {"weights", "name", "epoch"}:
        defaults["weights"] = BENCHMARK_WEIGHTS
    return [*(f"--{k}={v}" for k, v in defaults.items() if k not in names), *rest]


def config_call(argv: Sequence[str]) -> list[str]:
    """`-opt FILE` as `--config FILE`; without a model in the file it is SynergyNet.

    Raises:
        InputError: no file, or not one that `--config` reads.
    """
    # -opt=FILE is taken too, as the option parser of the public commands does.
    tokens = [part for token in argv for part in _split_opt(token)]
    if any(token in ("-h", "--help") for token in tokens):
        return tokens
    place = next((k for k, token in enumerate(tokens) if token in _CONFIG), None)
    if place is None or place + 1 == len(tokens):
        raise InputError("-opt is missing; name a file such as configs/synergy_net/synergynet.yaml")
    path = tokens[place + 1]
    rest = tokens[:place] + tokens[place + 2 :]
    flags = [*config_flags(Path(path)), *rest]
    has_model = any(token.partition("=")[0] == "--model" for token in flags)
    return [*([] if has_model else ["--model=synergy"]), f"--config={path}", *rest]


def _split_opt(token: str) -> list[str]:
    flag, has_value, value = token.partition("=")
    return [flag, value] if flag in _CONFIG and has_value else [token]


def long_flags(argv: Sequence[str]) -> list[str]:
    """Public spellings of flags as ours."""
    tokens = []
    for token in argv:
        name, has_value, value = token.partition("=")
        tokens.append(_SHORT.get(name, name) + has_value + value)
    return tokens


def split_flags(tokens: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tokens of the flags `names`, each of which takes one value, and all others."""
    mine: list[str] = []
    rest: list[str] = []
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        name, has_value, _ = token.removeprefix("--").partition("=")
        if token.startswith("--") and name in names:
            mine.append(token)
            if not has_value and waiting:
                mine.append(waiting.pop(0))
        else:
            rest.append(token)
    return mine, rest
