"""What would be used and why, and which of the user's files fit.

A check is a function from the parsed options to findings; `CHECKS` lists them in the order in which
`doctor.py` prints them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from data.detection import DetectionOptions, create_detector
from models.camera import Camera
from models.face_model import FaceModel, FaceModelOptions
from models.networks.recognition import RecognitionOptions
from models.networks.reconstruction import ReconstructionNetOptions
from models.renderer import Renderer, RenderOptions, resolve_backend
from models.stages import reconstruct
from options.base_options import BaseOptions
from options.flags import ParsedOptions
from util.assets import choose_face_model
from util.bfm_conversion import SOURCE_FILES, SourceFile, check_source
from util.bfm_file import read_bfm_model
from util.checkpoint import list_checkpoints, load_checkpoint, read_card, resolve_checkpoint
from util.devices import choose_device
from util.errors import InputError
from util.installation import Finding
from util.recognition_file import load_recognition_net
from util.reconstruction_file import read_initial_weights


def face_model(options: ParsedOptions) -> Iterator[Finding]:
    """The face model, and that it can be drawn by the renderer."""
    wanted = options[FaceModelOptions]
    model, message = _face_model(wanted)
    yield Finding(
        "ok",
        "face model",
        f"{message}; {model.vertex_count} vertices, licence {model.card.licence} "
        f"(--face_model {wanted.face_model})",
    )
    yield _rendering(model, options[RenderOptions].renderer, options)


@lru_cache(maxsize=1)
def _face_model(options: FaceModelOptions) -> tuple[FaceModel, str]:
    return choose_face_model(options)


def _rendering(model: FaceModel, name: str, options: ParsedOptions) -> Finding:
    """Draw the mean face."""
    base = options[BaseOptions]
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    backend = resolve_backend(name, device)
    model = model.to(device)
    result = reconstruct(
        model, Renderer(backend), Camera.rnet().to(device), model.layout.zeros(1, device)
    )
    share = float(result.rendering.mask.mean())
    if not 0.05 < share < 0.95:
        return Finding("wrong", "renderer", f"{backend} draws the face on {share:.0%} of the crop")
    return Finding("ok", "renderer", f"{backend} on {device} (--renderer {name})")


def detector(options: ParsedOptions) -> Iterator[Finding]:
    """The landmark detector, run once."""
    wanted = options[DetectionOptions]
    create_detector(wanted).detect(np.zeros((64, 64, 3), np.uint8), largest_only=True)
    yield Finding("ok", "landmark detector", f"{wanted.detector} (--detector {wanted.detector})")


def recognition_net(options: ParsedOptions) -> Iterator[Finding]:
    """The network of the identity loss."""
    _, message = load_recognition_net(options[RecognitionOptions])
    yield Finding("ok", "identity loss", message)


def initial_weights(options: ParsedOptions) -> Iterator[Finding]:
    """What a training starts from."""
    wanted = options[ReconstructionNetOptions]
    _, message = read_initial_weights(wanted)
    yield Finding("ok", f"R-Net ({wanted.net_recon})", message)


def writing(options: ParsedOptions) -> Iterator[Finding]:
    """Whether results can be written."""
    folder = Path(options[BaseOptions].checkpoints_dir)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Finding("wrong", "output", f"{existing} cannot be written: {error.strerror}")
    else:
        yield Finding("ok", "output", f"{folder} (--checkpoints_dir)")


def bfm(options: ParsedOptions) -> Iterator[Finding]:
    """The user's Basel Face Model: the file that is used, and those it is made of."""
    wanted = options[FaceModelOptions]
    folder = Path(wanted.bfm_folder)
    model = folder / wanted.bfm_model
    if model.is_file():
        yield _checked(model, lambda: read_bfm_model(model)[1])
    else:
        yield Finding("missing", str(model), "bfm09; made of the next files once all are there")
    for source in SOURCE_FILES:
        yield bfm_source(folder, source)


def bfm_source(folder: Path, source: SourceFile) -> Finding:
    """One of the files that bfm09 is made of: there and right, another one, or missing."""
    path = folder / source.name
    if not path.is_file():
        return Finding("missing", str(path), f"{source.what}: {source.place}")

    def check() -> str:
        check_source(folder, source)
        return source.what

    return _checked(path, check)


def _checked(path: Path, check: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", str(path), check())
    except InputError as error:
        return Finding("wrong", str(path), str(error))


def weights(options: ParsedOptions) -> Iterator[Finding]:
    """Weights that trainings may start from, where they are missing; if there, they were loaded."""
    known = {
        options[ReconstructionNetOptions].init_path: (
            "ImageNet weights of the R-Net's backbone; from the PyTorch project (torchvision's "
            "resnet50-0676ba61.pth)"
        ),
        options[RecognitionOptions].net_recog_path: (
            "ArcFace for the identity loss; from the insightface project (arcface_torch, "
            "ms1mv3_arcface_r50_fp16/backbone.pth)"
        ),
    }
    for name, what in known.items():
        if name and not Path(name).is_file():
            yield Finding("missing", name, what)
        elif name:
            yield Finding("ok", name, f"{Path(name).stat().st_size:,} bytes")


def runs(options: ParsedOptions) -> Iterator[Finding]:
    """Trained networks: the newest checkpoint of each run, read and held against the face model."""
    root = Path(options[BaseOptions].checkpoints_dir)
    card = _face_model(options[FaceModelOptions])[0].card
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in folders:
        if not (epochs := list_checkpoints(folder)):
            continue
        path = resolve_checkpoint(folder, epochs[-1])
        try:
            found = read_card(load_checkpoint(path), path)
        except InputError as error:
            yield Finding("wrong", str(folder), str(error))
            continue
        text = f"epoch {', '.join(epochs)}: {found.net_recon} for {found.face_model}"
        same = found.face_model_hash in ("", card.fingerprint)
        if found.face_model != card.name or not same:
            text += f" {found.face_model_version} ({found.face_model_hash or 'no hash'})"
            yield Finding("wrong", str(folder), f"{text}, but the face model is {card}")
        else:
            yield Finding("ok", str(folder), text)


Check = Callable[[ParsedOptions], Iterator[Finding]]

CHECKS: dict[str, tuple[Check, ...]] = {
    "Would be used": (face_model, detector, recognition_net, initial_weights, writing),
    "Your files, all optional": (bfm, weights),
    "Your runs": (runs,),
}
"""Sections of the report, in order."""


def findings(check: Check, options: ParsedOptions) -> list[Finding]:
    """What a check finds; its own failure is a finding too, since the others must go on."""
    found: list[Finding] = []
    try:
        found.extend(check(options))
    except Exception as error:
        # Whatever a broken installation raises: to name it is what this is for.
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        found.append(Finding("wrong", check.__name__.replace("_", " "), reason))
    return found


def what_works(report: dict[str, list[Finding]]) -> tuple[bool, str]:
    """Whether the commands work with these options, and the sentence that says which do."""
    used = {finding.subject: finding.state for finding in report["Would be used"]}

    def works(*subjects: str) -> bool:
        """All parts are there; none of those that begin so has failed."""
        named = [state for name, state in used.items() if name.startswith(subjects)]
        return len(named) >= len(subjects) and all(state == "ok" for state in named)

    face, drawn = works("face model", "output"), works("renderer")
    trained = [finding for finding in report["Your runs"] if finding.state == "ok"]
    commands = {
        "data_preparation.py": works("landmark detector", "output"),
        "make_synthetic.py": face and drawn,
        "train.py": face and drawn and works("identity loss", "R-Net"),
        "test.py": face and drawn and works("landmark detector"),
    }
    sound = all(commands.values())
    able = [name for name, ok in commands.items() if ok]
    if "test.py" in able and not trained:
        able[able.index("test.py")] = "test.py (once a run is trained)"
    missing = [name for name, ok in commands.items() if not ok]
    sentence = f"Works now: {', '.join(able) or 'nothing'}"
    if missing:
        sentence += f". Not: {', '.join(missing)}; see what is wrong above"
    return sound, sentence
