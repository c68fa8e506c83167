"""What would be used and why, and which of the user's files fit.

A check is a function from the parsed options to findings; `CHECKS` lists them in the order in which
`doctor.py` prints them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from data.detection import create_detector
from data.insightface_detector import find_detection_model
from data.landmark_graph import (
    CONVERTED_NAME,
    GRAPH_NAME,
    GRAPH_PLACE,
    MEAN_FACE_NAME,
    REGRESSION_NAME,
    SIDE,
    BoxRegression,
    check_graph_files,
    find_file,
    lacking_package,
    open_graph,
    read_mean_face,
    would_be_converted,
)
from data.onnx_model import OnnxModel
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import resolve_backend
from models.stages import reconstruct
from options.base_options import BaseOptions, run_folder
from options.data_options import DetectionOptions
from options.face_options import NAMED_FACE_MODELS, FaceModelOptions, RenderOptions
from options.flags import ParsedOptions
from options.network_options import RecognitionOptions, ReconstructionNetOptions
from util.assets import choose_face_model, ict_would_be_made
from util.devices import chosen_renderer, find_device
from util.errors import InputError
from util.installation import OPTIONAL, Finding, version_of
from util.model_files import flame_folder, ict_file
from util.model_files.bfm09_folder import MODEL_INFO, SOURCE_FILES, SourceFile, missing_sources
from util.model_files.bfm_conversion import check_source, check_sources
from util.model_files.bfm_file import NAME as BFM09
from util.model_files.bfm_file import STANDARD_POINTS_FILE, read_bfm_model, read_standard_points
from util.model_files.bfm_releases import RELEASES
from util.model_files.flame_folder import find_flame
from util.model_files.ict_file import check_ict
from util.model_files.ict_folder import CONVERTED, FOLDER, find_ict
from util.model_files.recognition_file import load_recognition_net
from util.model_files.reconstruction_file import DEFAULT_INIT_NET, read_initial_weights
from util.training.checkpoint import load_checkpoint, read_card
from util.training.checkpoint_kind import SYNERGY, network_of
from util.training.checkpoint_names import list_checkpoints, resolve_checkpoint

_BFM09 = "the Basel Face Model 2009 as this program reads it (--face_model bfm09)"
_ICT = (
    f"the face model of ICT-FaceKit (--face_model ict): the folder {FOLDER} of its download "
    "(github.com/ICT-VGL/ICT-FaceKit, MIT licence)"
)
_LANDMARK_GRAPH = (
    f"the landmarks of --detector tensorflow: {GRAPH_PLACE}, and beside it {REGRESSION_NAME} and "
    f"{MEAN_FACE_NAME} of that code's util/; --lm_folder names another place"
)
_FLAME = "the head model FLAME (--face_model flame)"


def face_model(options: ParsedOptions) -> Iterator[Finding]:
    """The face model; none is made here if its file is missing, since that takes its time."""
    wanted = options[FaceModelOptions]
    flag = f"(--face_model {wanted.face_model})"
    if would_be_made(wanted):
        name = _check_made(wanted)
        files = f"of the files in {wanted.bfm_folder} at the first run"
        yield Finding("ok", "face model", f"{name}, which is made {files} {flag}")
        return
    model, message = _face_model(wanted)
    licence = f"{model.vertex_count} vertices, licence {model.card.licence}"
    yield Finding("ok", "face model", f"{message}; {licence} {flag}")


def would_be_made(wanted: FaceModelOptions) -> bool:
    """Whether a run would first make the file of bfm09 or ict."""
    folder = Path(wanted.bfm_folder)
    if wanted.face_model == ict_file.NAME:
        return ict_would_be_made(folder)
    is_named = wanted.face_model in ("auto", "bfm09")
    return is_named and not (folder / wanted.bfm_model).is_file() and not missing_sources(folder)


def _check_made(wanted: FaceModelOptions) -> str:
    """Check the files that a model would be made of; the model's name."""
    if wanted.face_model != ict_file.NAME:
        _check_sources(wanted)
        return BFM09
    folder = find_ict(Path(wanted.bfm_folder))
    assert folder is not None  # else it would not be made
    check_ict(folder)
    return ict_file.NAME


def _check_sources(wanted: FaceModelOptions) -> None:
    try:
        check_sources(Path(wanted.bfm_folder))
    except InputError as error:
        if wanted.face_model != "auto":
            raise
        raise InputError(f"{error}; or give --face_model open") from error


@lru_cache(maxsize=4)
def _face_model(options: FaceModelOptions) -> tuple[FaceModel, str]:
    return choose_face_model(options)


def device(options: ParsedOptions) -> Iterator[Finding]:
    """What computes."""
    base = options[BaseOptions]
    found, notice = find_device(base.gpu_ids)
    said = f"; {notice}" if notice else ""
    yield Finding("ok", "device", f"{found} (--gpu_ids {base.gpu_ids}){said}")


def _device(options: ParsedOptions) -> torch.device:
    return find_device(options[BaseOptions].gpu_ids)[0]


def renderer(options: ParsedOptions) -> Iterator[Finding]:
    """Draw the mean face; of the open model where the chosen one has failed or is to be made."""
    name = options[RenderOptions].renderer
    try:
        device = _device(options)
    except InputError:
        return  # said of the device
    wanted = options[FaceModelOptions]
    try:
        model, _ = _face_model(
            replace(wanted, face_model="open") if would_be_made(wanted) else wanted
        )
    except InputError:
        model, _ = _face_model(replace(wanted, face_model="open"))
    drawing = chosen_renderer(options[RenderOptions], device)
    backend = resolve_backend(name, device)
    model = model.to(device)
    result = reconstruct(model, drawing, Camera.rnet().to(device), model.layout.zeros(1, device))
    share = float(result.rendering.mask.mean())
    if 0.05 < share < 0.95:
        yield Finding("ok", "renderer", f"{backend} on {device} (--renderer {name})")
    else:
        yield Finding("wrong", "renderer", f"{backend} draws the face on {share:.0%} of the crop")


def detector(options: ParsedOptions) -> Iterator[Finding]:
    """The landmark detector, run once."""
    wanted = options[DetectionOptions]
    black = np.zeros((64, 64, 3), np.uint8)
    create_detector(wanted, read_only=True).detect(black, largest_only=True)
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
        yield Finding("ok", "output", f"{folder} can be written (--checkpoints_dir)")


def bfm(options: ParsedOptions) -> Iterator[Finding]:
    """The user's Basel Face Model: the file that is used, and those it is made of."""
    wanted = options[FaceModelOptions]
    folder = Path(wanted.bfm_folder)
    model = folder / wanted.bfm_model
    if model.is_file():
        yield _checked(model, lambda: read_bfm_model(model)[1].removeprefix(f"from {model} "))
    elif missing_sources(folder):
        yield Finding("missing", str(model), f"{_BFM09}; made of the next files once all are there")
    else:
        yield Finding("missing", str(model), f"{_BFM09}; the first run makes it of the next files")
    for source in SOURCE_FILES:
        yield bfm_source(folder, source)
    yield standard_points(folder / STANDARD_POINTS_FILE)


def other_models(options: ParsedOptions) -> Iterator[Finding]:
    """The user's further face models: ICT-FaceKit, FLAME, the Basel Face Models of later years."""
    wanted = options[FaceModelOptions]
    folder = Path(wanted.bfm_folder)

    def read(name: str) -> Callable[[], str]:
        return lambda: str(_face_model(replace(wanted, face_model=name))[0].card)

    converted, source = folder / CONVERTED, find_ict(folder)
    if source is not None and ict_would_be_made(folder):
        yield _checked(source, lambda: f"{check_ict(source)}, converted at the first run")
    elif converted.is_file():
        yield _checked(converted, read(ict_file.NAME))
    else:
        yield Finding("missing", str(folder / FOLDER), _ICT)
    path = find_flame(folder)
    if path is not None:
        yield _checked(path, read(flame_folder.NAME))
    else:
        path = folder / flame_folder.NAMES[0]
        yield Finding("missing", str(path), f"{_FLAME}; {flame_folder.REMEDY}")
    for release in RELEASES:
        yield _optional(folder / release.file, release.remedy, read(release.name))


def bfm_source(folder: Path, source: SourceFile) -> Finding:
    """One of the files that bfm09 is made of: there and right, another one, or missing."""
    path = folder / source.name
    if not path.is_file():
        return Finding("missing", str(path), f"{source.what}: {source.place}")

    def check() -> str:
        check_source(folder, source)
        return source.what

    return _checked(path, check)


def standard_points(path: Path) -> Finding:
    """The landmarks by which the public code aligns photos."""
    what = "standard landmarks for aligning photos"
    if not path.is_file():
        text = f"{what}, without which the model's own serve: {MODEL_INFO.place}"
        return Finding("missing", str(path), text)

    def check() -> str:
        read_standard_points(path.parent)
        return what

    return _checked(path, check)


def weights(options: ParsedOptions) -> Iterator[Finding]:
    """Weights that trainings may start from; files that are there are read, used or not."""
    net, recognition = options[ReconstructionNetOptions], options[RecognitionOptions]

    def initial() -> str:
        state, message = read_initial_weights(net)
        if state is not None and str(Path(net.init_path)) in message:
            return message
        # Only the default file may be left unused; it must then be what its name says.
        _, message = read_initial_weights(replace(net, net_recon=DEFAULT_INIT_NET))
        return f"{message}, but --net_recon {net.net_recon} starts from others"

    def arcface() -> str:
        _, message = load_recognition_net(replace(recognition, net_recog="auto"))
        unused = recognition.net_recog in ("dlib", "none")
        return f"{message}, unused by --net_recog {recognition.net_recog}" if unused else message

    if net.init_path:
        yield _optional(
            Path(net.init_path),
            "ImageNet weights of the R-Net's backbone; from the PyTorch project (torchvision's "
            "resnet50-0676ba61.pth)",
            initial,
        )
    if recognition.net_recog_path:
        yield _optional(
            Path(recognition.net_recog_path),
            "ArcFace for the identity loss; from the insightface project (arcface_torch, "
            "ms1mv3_arcface_r50_fp16/backbone.pth)",
            arcface,
        )


def detector_files(options: ParsedOptions) -> Iterator[Finding]:
    """What detectors need of the user: the landmark graph's files, and those of the chosen one."""
    wanted = options[DetectionOptions]
    folder = Path(wanted.lm_folder)
    names = (GRAPH_NAME, CONVERTED_NAME, REGRESSION_NAME, MEAN_FACE_NAME)
    if wanted.detector == "tensorflow" or any((folder / name).is_file() for name in names):
        yield from _landmark_files(folder)
    else:
        yield Finding("missing", str(folder / GRAPH_NAME), _LANDMARK_GRAPH)
    if wanted.detector == "insightface":
        root = wanted.insightface_root
        try:
            path = find_detection_model(root)
        except InputError as error:
            yield Finding("missing", "--insightface_root", str(error))
        else:
            yield _checked(path, lambda: f"face detector, input {OnnxModel(path).input_shape}")


def _landmark_files(folder: Path) -> Iterator[Finding]:
    """The landmark graph, run once where that can be done, and its companions."""

    def graph() -> str:
        what = "the public code's landmark graph"
        check_graph_files(folder)
        if lacking := lacking_package(folder):
            return f"{what}, which was not run: {lacking}"  # no fault of the file
        open_graph(folder, convert=False).run(np.zeros((1, SIDE, SIDE, 3), np.float32))
        return f"{what}; the first run converts it" if would_be_converted(folder) else what

    def regression() -> str:
        BoxRegression.read(find_file(folder, REGRESSION_NAME))
        return "the box of a face by its five points"

    def mean_face() -> str:
        read_mean_face(find_file(folder, MEAN_FACE_NAME))
        return "the mean face of the graph's landmarks"

    only_converted = not (folder / GRAPH_NAME).is_file() and (folder / CONVERTED_NAME).is_file()
    name = CONVERTED_NAME if only_converted else GRAPH_NAME
    for path, check in (
        (folder / name, graph),
        (folder / REGRESSION_NAME, regression),
        (folder / MEAN_FACE_NAME, mean_face),
    ):
        finding = _checked(path, check)
        is_missing = finding.state == "wrong" and not path.is_file()
        yield replace(finding, state="missing") if is_missing else finding


def _optional(path: Path, what: str, check: Callable[[], str]) -> Finding:
    return _checked(path, check) if path.is_file() else Finding("missing", str(path), what)


def _checked(path: Path, check: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", str(path), check())
    except InputError as error:
        return Finding("wrong", str(path), _after(path, error))


def _after(path: Path, error: InputError) -> str:
    """A message without the path at its begin, which the line has named."""
    return str(error).removeprefix(str(path)).lstrip("/\\: ")


def runs(options: ParsedOptions) -> Iterator[Finding]:
    """Trained networks: the newest checkpoint of each run, read and held against the face model."""
    root = Path(options[BaseOptions].checkpoints_dir)
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in folders:
        if epochs := list_checkpoints(folder):
            try:
                yield _run(folder, epochs, options)
            except InputError as error:
                yield Finding("wrong", str(folder), _after(folder, error))
    if options.given("name"):
        yield from _missing_run(options, [folder for folder in folders if list_checkpoints(folder)])


def _missing_run(options: ParsedOptions, trained: list[Path]) -> Iterator[Finding]:
    """That the run of `--name`, or the checkpoint of `--epoch`, is not there."""
    base, folder = options[BaseOptions], run_folder(options)
    if folder in trained:
        try:
            resolve_checkpoint(folder, base.epoch)
        except InputError as error:
            yield Finding("missing", str(folder), str(error))
        return
    there = f"there are no runs in {base.checkpoints_dir}"
    if trained:
        there = f"the runs of {base.checkpoints_dir} are {', '.join(run.name for run in trained)}"
    remedy = "give another --name or --checkpoints_dir, or train it with train.py"
    yield Finding("missing", str(folder), f"no such run (--name {base.name}); {there}; {remedy}")


def _run(folder: Path, epochs: list[str], options: ParsedOptions) -> Finding:
    """A run, with the face model that `test.py` would take for its newest checkpoint."""
    path = resolve_checkpoint(folder, epochs[-1])
    if network_of(path) == SYNERGY:
        said = f"epoch {', '.join(epochs)}: a SynergyNet, for --model synergy"
        return Finding("ok", str(folder), said)
    found = read_card(load_checkpoint(path), path)
    text = f"epoch {', '.join(epochs)}: {found.net_recon} for {found.face_model}"
    wanted = options[FaceModelOptions]
    if not options.given("face_model") and found.face_model in NAMED_FACE_MODELS:
        wanted = replace(wanted, face_model=found.face_model)
    if would_be_made(wanted):
        other = ict_file.NAME if wanted.face_model == ict_file.NAME else BFM09
        if found.face_model == other:
            _check_made(wanted)
            return Finding("ok", str(folder), f"{text}, which is made at the first run")
    else:
        card = _face_model(wanted)[0].card
        if card.name == found.face_model and found.face_model_hash in ("", card.fingerprint):
            return Finding("ok", str(folder), text)
        other = str(card)
    text += f" {found.face_model_version} ({found.face_model_hash or 'no hash'})"
    return Finding("wrong", str(folder), f"{text}, but the face model is {other}")


Check = Callable[[ParsedOptions], Iterator[Finding]]

CHECKS: dict[str, tuple[Check, ...]] = {
    "Would be used": (
        *(face_model, device, renderer, detector, recognition_net, initial_weights, writing),
    ),
    "Your files, needed only where a flag asks for them": (
        *(bfm, other_models, weights, detector_files),
    ),
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
    runs = report["Your runs"]
    trained = any(finding.state == "ok" for finding in runs)
    named = [finding.subject for finding in runs if finding.state == "missing"]
    commands = {
        "data_preparation.py": works("landmark detector", "output"),
        "make_synthetic.py": face,
        "train.py": face and drawn and works("identity loss", "R-Net"),
        "test.py": face and drawn and works("landmark detector"),
        "fit.py": face and drawn and works("landmark detector"),
        "animate.py": face and drawn,
        "app.py": face and drawn and works("landmark detector"),
        "evaluate.py": face and drawn,
        "export.py": face,
    }
    once_trained = [] if trained else ["once a run is trained"]
    if named:
        once_trained = [f"once {named[0]} is trained"]
    conditions = {
        "test.py": once_trained,
        "app.py": _extras("app.py"),
        "evaluate.py": ["with the files of a benchmark"],
        "export.py": [*once_trained, *_extras("export.py")],
    }
    sound = all(commands.values())
    able = [
        f"{name} ({', '.join(conditions[name])})" if conditions.get(name) else name
        for name, ok in commands.items()
        if ok
    ]
    missing = [name for name, ok in commands.items() if not ok]
    sentence = f"Works now: {', '.join(able) or 'nothing'}"
    if missing:
        sentence += f". Not: {', '.join(missing)}; see what is wrong above"
    return sound, sentence


def _extras(command: str) -> list[str]:
    """What a command does only after optional packages are installed."""
    lacking = [p for p in OPTIONAL if p.command == command and version_of(p) is None]
    # The command itself is named beside it.
    return sorted({f"{package.use} after {package.install}".strip() for package in lacking})
