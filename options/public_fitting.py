"""Command lines of 3DMM-Fitting-Pytorch (github.com/ascust/3DMM-Fitting-Pytorch), for `fit.py`.

Each public flag with its public default; docs/fitting_flags.md says what became of it. Flags that
are not public are those of `fit.py` and pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from options.face_options import CROP_PX
from options.flags import ParsedOptions, did_you_mean, flag_names, no_effect, parse_command
from util.errors import InputError

BFM_MODEL = "BFM09_model_info.mat"
"""What convert_bfm09_data.py makes; BFM_model_front.mat by another name."""
OWN_BFM_FOLDER = Path(__file__).resolve().parent.parent / "BFM"

_CROP = f"the crop is {CROP_PX} pixels wide and as large as the landmarks say"
_STEPS = ("first_rf_iters", "first_nrf_iters", "rf_lr", "nrf_lr")
_NEXT_STEPS = ("rest_rf_iters", "rest_nrf_iters")
_PHOTO = "a photo has no other frames"


@dataclass(frozen=True)
class PublicFitOptions:
    """Both commands."""

    res_folder: str = ""
    """Folder of the results; must be given."""
    recon_model: str = "bfm09"
    """bfm09: your Basel Face Model 2009 where its files are, else the open model; or anything else
    that --face_model of fit.py takes."""
    bfm_folder: str = "BFM"
    """Folder of your face model's files; where there is no BFM here, the program's own."""
    lm_loss_w: float = 100.0
    """Weight of the landmarks, in squared widths of the crop."""
    rgb_loss_w: float = 1.6
    """Weight of the colours."""
    id_reg_w: float = 1e-3
    """Weight of the identity coefficients."""
    exp_reg_w: float = 0.8e-3
    """Weight of the expression coefficients."""
    tex_reg_w: float = 1.7e-6
    """Weight of the texture coefficients."""
    tex_w: float = 1.0
    """Weight of the variance of the albedo over the skin."""
    tar_size: int = no_effect(256, _CROP)
    padding_ratio: float = no_effect(0.3, _CROP)

    def __post_init__(self) -> None:
        """Refuse to guess where results should go."""
        if not self.res_folder:
            raise InputError(
                "--res_folder is missing; name the folder of the results: --res_folder results"
            )


@dataclass(frozen=True)
class PublicPhotoOptions:
    """Photos."""

    img_path: str = ""
    """The photo, or a folder of photos; must be given."""
    gpu: int = 0
    """GPU; -1 is the CPU, which is also taken where there is no GPU."""
    first_rf_iters: int = 1000
    """Steps of the pose with --solver adam; Gauss-Newton, the default, takes a few by --preset."""
    first_nrf_iters: int = 500
    """Steps of everything with --solver adam."""
    rf_lr: float = 1e-2
    """Rate of the first with --solver adam."""
    nrf_lr: float = 1e-2
    """Rate of the second with --solver adam."""
    rest_rf_iters: int = no_effect(50, _PHOTO)
    rest_nrf_iters: int = no_effect(30, _PHOTO)
    rot_reg_w: float = no_effect(1.0, _PHOTO)
    trans_reg_w: float = no_effect(1.0, _PHOTO)
    nframes_shape: int = no_effect(16, _PHOTO)
    cache_folder: str = no_effect("fitting_cache", "nothing of a photo is kept for later")

    def __post_init__(self) -> None:
        """Refuse to guess what should be fitted."""
        if not self.img_path:
            raise InputError("--img_path is missing; name the photo: --img_path my.jpg")


@dataclass(frozen=True)
class PublicVideoOptions:
    """Videos."""

    v_path: str = ""
    """The video; must be given."""
    ngpus: int = 1
    """GPUs; 1 means the CPU where there is no GPU."""
    nworkers: int = 1
    """Processes that share the frames."""
    nframes_shape: int = 16
    """Frames that identity and albedo are fitted to."""
    rot_reg_w: float = 1.0
    """Weight of the squared change of the angles from frame to frame, in radians."""
    trans_reg_w: float = 1.0
    """Weight of the squared change of the translation, in decimetres."""
    cache_folder: str = "fitting_cache"
    """Finished parts of the video lie in its subfolder <name of the video> until all is written;
    nothing else in it is touched."""
    first_rf_iters: int = 1000
    """Steps of the pose of first frames with --solver adam; Gauss-Newton, the default, takes a few
    by --preset."""
    first_nrf_iters: int = 500
    """Steps of everything else of them with --solver adam."""
    rest_rf_iters: int = 50
    """Steps of the pose of further frames with --solver adam."""
    rest_nrf_iters: int = 30
    """Steps of everything else of them with --solver adam."""
    rf_lr: float = 1e-2
    """Rate of the steps of the pose with --solver adam."""
    nrf_lr: float = 1e-2
    """Rate of the others with --solver adam."""

    def __post_init__(self) -> None:
        """Refuse to guess what should be fitted."""
        if not self.v_path:
            raise InputError("--v_path is missing; name the video: --v_path my.mp4")


@dataclass(frozen=True)
class PublicConversionOptions:
    """The Basel Face Model 2009."""

    bfm_folder: str = PublicFitOptions.bfm_folder
    """Folder of its files; where there is no BFM here, the program's own."""


PHOTO_GROUPS = (PublicPhotoOptions, PublicFitOptions)
VIDEO_GROUPS = (PublicVideoOptions, PublicFitOptions)

_WEIGHTS = {
    "lm_loss_w": ("w_landmarks", 1 / CROP_PX**2),
    "rgb_loss_w": ("w_photo", 1.0),
    "id_reg_w": ("w_identity", 1.0),
    "exp_reg_w": ("w_expression", 1.0),
    "tex_reg_w": ("w_texture", 1.0),
    "tex_w": ("w_reflectance", 1.0),
}
"""Public weight -> ours, and what it is multiplied by."""


@dataclass(frozen=True)
class FitCall:
    """A public command line, understood."""

    options: ParsedOptions
    """Of the public flags."""
    argv: list[str]
    """What `fit.py` is called with."""


def photo_call(argv: Sequence[str], fit_flags: Collection[str], description: str = "") -> FitCall:
    """Translate the command line of fit_single_img.py.

    Args:
        argv: arguments.
        fit_flags: names of the flags of `fit.py`.
        description: first lines of `--help`.

    Raises:
        InputError: unknown flag, wrong value, no photo or no folder of results.
    """
    options, rest = _parse(PHOTO_GROUPS, argv, fit_flags, description)
    photo = options[PublicPhotoOptions]
    return FitCall(
        options,
        [
            f"--img_path={photo.img_path}",
            f"--gpu_ids={photo.gpu}",
            # Given in vain, they are told so by fit.py.
            *(f"--{name}={getattr(photo, name)}" for name in _STEPS if options.given(name)),
            *_shared_arguments(options),
            *rest,
        ],
    )


def video_call(argv: Sequence[str], fit_flags: Collection[str], description: str = "") -> FitCall:
    """Translate the command line of fit_video.py; as `photo_call`."""
    options, rest = _parse(VIDEO_GROUPS, argv, fit_flags, description)
    video = options[PublicVideoOptions]
    cache = Path(video.cache_folder) / Path(video.v_path).stem if video.cache_folder else ""
    return FitCall(
        options,
        [
            f"--v_path={video.v_path}",
            *([f"--ngpus={video.ngpus}"] if video.ngpus != 1 else []),
            f"--nworkers={video.nworkers}",
            f"--nframes_shape={video.nframes_shape}",
            f"--cache_folder={cache}",
            f"--near_rotation={video.rot_reg_w}",
            f"--near_translation={video.trans_reg_w}",
            *(
                f"--{name}={getattr(video, name)}"
                for name in (*_STEPS, *_NEXT_STEPS)
                if options.given(name)
            ),
            *_shared_arguments(options),
            *rest,
        ],
    )


def find_bfm_folder(given: str) -> Path:
    """The folder that `--bfm_folder` means: the program's own where there is no `BFM` here."""
    default: str = PublicFitOptions.bfm_folder
    return OWN_BFM_FOLDER if given == default and not Path(given).is_dir() else Path(given)


def _shared_arguments(options: ParsedOptions) -> list[str]:
    """Of both commands."""
    fit = options[PublicFitOptions]
    folder = find_bfm_folder(fit.bfm_folder)
    return [
        f"--res_folder={fit.res_folder}",
        f"--face_model={'auto' if fit.recon_model == 'bfm09' else fit.recon_model}",
        f"--bfm_folder={folder}",
        *([f"--bfm_model={BFM_MODEL}"] if (folder / BFM_MODEL).is_file() else []),
        "--weights=public",
        *(
            f"--{ours}={getattr(fit, name) * factor!r}"
            for name, (ours, factor) in _WEIGHTS.items()
            if options.given(name)
        ),
    ]


def _parse(
    groups: Sequence[type], argv: Sequence[str], fit_flags: Collection[str], description: str
) -> tuple[ParsedOptions, list[str]]:
    """The public flags, and the arguments that are for `fit.py` alone."""
    names = flag_names(groups)
    public, rest = _split(argv, names)
    others = {*fit_flags, "config"}
    flags = [token.partition("=")[0] for token in rest if token.startswith("--")]
    if unknown := [flag for flag in flags if flag[2:] not in others]:
        raise InputError(
            f"unrecognized arguments: {' '.join(unknown)}{did_you_mean(unknown, names | others)}; "
            "run with --help for all flags"
        )
    return parse_command(groups, public, description), rest


def _split(argv: Sequence[str], names: Collection[str]) -> tuple[list[str], list[str]]:
    """Arguments of the flags `names`, each of which takes one value, and all others."""
    mine: list[str] = []
    rest: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        name, has_value, _ = token.removeprefix("--").partition("=")
        if token in ("-h", "--help"):
            mine.append(token)
        elif token.startswith("--") and name in names:
            mine.append(token)
            if not has_value and tokens and not tokens[0].startswith("--"):
                mine.append(tokens.pop(0))
        else:
            rest.append(token)
    return mine, rest
