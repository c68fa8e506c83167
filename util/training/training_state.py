"""Save and restore a model, its optimisers and the position of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from models.base_model import BaseModel
from models.facerecon_model import FaceReconModel
from options.face_options import NAMED_FACE_MODELS, FaceModelOptions, LandmarkOptions
from options.flags import ParsedOptions
from options.network_options import ReconstructionNetOptions
from util.errors import InputError
from util.training.checkpoint import (
    CheckpointCard,
    check_card,
    load_checkpoint,
    load_network,
    read_card,
    save_checkpoint,
)
from util.training.checkpoint_names import epoch_of
from util.training.random_state import random_state, set_random_state
from util.training.run_choice import refuse_other_face_model

_OF_LISTS = {"list_shares": "the shares of the lists", "list_sizes": "the sizes of the lists"}
"""Of several lists (`--flist`), what the order follows from."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    epoch: int = 1
    """Epoch to go on with, from 1."""
    batches: int = 0
    """Batches of that epoch that are done."""
    step: int = 0
    """Steps taken in all."""
    seconds: float = 0.0
    """Time trained in all."""
    best: float | None = None
    """The smallest validation loss so far, for `--keep_best`; None before the first."""
    bad_images: dict[str, int] = field(default_factory=dict)
    """Images that could not be used, such as `train 17`, and the last epoch that met them."""
    order: dict[str, Any] = field(default_factory=dict)
    """What the batches follow from (`FaceLoader.order`), and the number of processes; empty in a
    file that does not say."""


def card_of(model: FaceReconModel, options: ParsedOptions) -> CheckpointCard:
    """What the running network's outputs mean."""
    net, face = options[ReconstructionNetOptions], model.face_model.card
    return CheckpointCard(
        net_recon=net.net_recon,
        use_last_fc=net.use_last_fc,
        layout=tuple((block.name, block.size) for block in model.layout.blocks),
        face_model=face.name,
        face_model_version=face.version,
        face_model_hash=face.fingerprint,
        landmark_origin=model.landmark_origin,
    )


def adopt_card(options: ParsedOptions, checkpoint: Mapping[str, Any], path: Path) -> ParsedOptions:
    """Take what a checkpoint knows about itself for every flag that the user left open.

    So `test.py` needs neither the architecture nor the landmark origin of the training, nor the
    face model if it is one that has a name.

    Raises:
        InputError: the user names another face model, or flags that cannot go together.
    """
    card = read_card(checkpoint, path)
    refuse_other_face_model(options, card.face_model, path)
    net = {"net_recon": card.net_recon, "use_last_fc": card.use_last_fc}
    net = {name: value for name, value in net.items() if not options.given(name)}
    try:
        options = options.with_values(ReconstructionNetOptions, **net)
    except ValueError as error:
        raise InputError(f"{path} was trained with {net}: {error}") from error
    if not options.given("landmark_origin"):
        options = options.with_values(LandmarkOptions, landmark_origin=card.landmark_origin)
    if not options.given("face_model") and card.face_model in NAMED_FACE_MODELS:
        options = options.with_values(FaceModelOptions, face_model=card.face_model)
    return options


def training_state(model: BaseModel, options: ParsedOptions, progress: Progress) -> dict[str, Any]:
    """Everything from which training can go on, of all its processes; called by each of them.

    Only the first one's is complete.
    """
    state: dict[str, Any] = {**model.state(), "progress": asdict(progress)}
    state["random"] = model.ranks.gather_to_first(random_state(model.device))
    if isinstance(model, FaceReconModel):
        state["card"] = card_of(model, options).to_dict()
    return state


def save_training(path: Path, model: BaseModel, options: ParsedOptions, progress: Progress) -> None:
    """Write a checkpoint from which training can go on; of several processes the first writes."""
    state = training_state(model, options, progress)
    if model.ranks.is_first:
        save_checkpoint(path, state)


def load_weights(
    checkpoint: Mapping[str, Any], path: Path, model: BaseModel, options: ParsedOptions
) -> None:
    """Load a checkpoint's networks into a model.

    Args:
        checkpoint: from `load_checkpoint`.
        path: its file, for messages.
        model: filled in place.
        options: of the run, which must mean the same network and face model.

    Raises:
        InputError: another architecture or face model.
    """
    if isinstance(model, FaceReconModel):
        found, expected = read_card(checkpoint, path), card_of(model, options)
        check_card(found, expected, path)
        if model.ranks.is_first and (notice := version_notice(found, expected, path)):
            print(notice)
    if reason := model.mismatch(checkpoint):
        raise InputError(f"{path}: {reason}")
    for name, network in model.networks.items():
        load_network(network, checkpoint[name], path)


def version_notice(found: CheckpointCard, expected: CheckpointCard, path: Path) -> str:
    """What a checkpoint of another version of the same face model means, or ""."""
    theirs, ours = found.face_model_version, expected.face_model_version
    if not theirs or not ours or theirs == ours:
        return ""
    return (
        f"{path} was trained with version {theirs} of the face model {found.face_model}, this one "
        f"is {ours}: coefficients mean the same faces, landmarks may lie elsewhere"
    )


def resume_training(path: Path, model: BaseModel, options: ParsedOptions) -> Progress:
    """Load everything that a training needs to go on.

    Raises:
        InputError: as `load_weights`; or the checkpoint has no state of a training.
    """
    checkpoint = load_checkpoint(path, tuple(model.networks))
    load_weights(checkpoint, path, model, options)
    wanted = _step_settings(model)
    try:
        model.load_training_state(checkpoint)
    except ValueError as error:
        raise InputError(f"{path}: {error}; start from its weights by --pretrained_name") from error
    if model.ranks.is_first:
        for flag, value in _step_settings(model).items():
            if options.given(flag) and wanted.get(flag, value) != value:
                print(f"--{flag} {wanted[flag]:g} has no effect: {path} goes on at its {value:g}")
    _restore_random(checkpoint.get("random"), path, model)
    if "progress" not in checkpoint:  # a public one
        return Progress(epoch=_public_epoch(path, checkpoint, model, options))
    return _read_progress(checkpoint["progress"], path)


def _step_settings(model: BaseModel) -> dict[str, float]:
    """By the flags that give them, what the first group's steps keep over a resume."""
    group = model.optimizers[0].param_groups[0]
    # Policies by epoch start from it; the clock's rate is that of the flag.
    kept = {"lr": "initial_lr", "weight_decay": "weight_decay"}
    return {flag: float(group[name]) for flag, name in kept.items() if name in group}


def _restore_random(saved: Any, path: Path, model: BaseModel) -> None:
    """Set the random generators of this process to those of its rank.

    A process that the saved training did not have keeps its own seed.
    """
    if isinstance(saved, Tensor):  # of earlier versions: torch's alone
        saved = [{"torch": saved}]
    if saved is None:
        return
    try:
        if model.ranks.rank < len(saved):
            set_random_state(saved[model.ranks.rank], model.device)
    except KeyError as error:
        raise InputError(
            f"{path}: its random states lack {error}; start from its weights by --pretrained_name"
        ) from error
    except (
        *(IndexError, TypeError, ValueError, AttributeError),
        *(OverflowError, RuntimeError),
    ) as error:
        raise InputError(
            f"{path}: its random states are malformed; start from its weights by --pretrained_name"
        ) from error


def _public_epoch(
    path: Path, checkpoint: Mapping[str, Any], model: BaseModel, options: ParsedOptions
) -> int:
    """The epoch that a public checkpoint goes on with; only its file's name and schedule know.

    `epoch_20.pth` has 20 epochs behind it. In `epoch_latest.pth` the schedule has counted them.
    """
    if options.given("epoch_count"):
        return model.first_epoch
    if (name := epoch_of(path)).isdecimal():
        return int(name) + 1
    done = checkpoint.get("sched_00", {}).get("last_epoch", 0)
    return max(model.first_epoch, int(done) + 1) if isinstance(done, int) else model.first_epoch


def _read_progress(record: Any, path: Path) -> Progress:
    try:
        return Progress(
            epoch=int(record["epoch"]),
            batches=int(record["batches"]),
            step=int(record["step"]),
            seconds=float(record["seconds"]),
            # Files of earlier versions have none of these.
            best=None if record.get("best") is None else float(record["best"]),
            bad_images={str(k): int(v) for k, v in dict(record.get("bad_images", {})).items()},
            order=dict(record.get("order", {})),
        )
    except KeyError as error:
        raise InputError(
            f"{path}: its position in the training lacks {error}; start from its weights by "
            "--pretrained_name"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: its position in the training is malformed; start from its weights by "
            "--pretrained_name"
        ) from error


def follow_order(progress: Progress, order: Mapping[str, Any]) -> tuple[Progress, str]:
    """Go on with the batches that follow from other flags than a resumed training's, if possible.

    Args:
        progress: of the checkpoint.
        order: of this run, as `Progress.order`.

    Returns:
        The progress with the run's order; a sentence on what has changed, or "".

    Raises:
        InputError: the checkpoint is from the midst of an epoch, whose remaining faces another
            order would not give.
    """
    changed = {
        name: (progress.order[name], value)
        for name, value in order.items()
        if name in progress.order and progress.order[name] != value
    }
    # Processes share each batch: a number of them changes nothing about which faces are left.
    clash = {name: values for name, values in changed.items() if name != "processes"}
    if clash and progress.batches > 0:
        what = ", ".join(_change(name, *values) for name, values in clash.items())
        of_lists = {"faces", *_OF_LISTS}
        flags = [f"--{name} {old}" for name, (old, _) in clash.items() if name not in of_lists]
        remedies = [f"give {' '.join(flags)}"] if flags else []
        if of_lists & clash.keys():
            remedies.append("take the lists and shares that the run had")
        remedy = " and ".join(remedies)
        raise InputError(
            f"--continue_train: {what}, but the checkpoint stands after batch {progress.batches} "
            f"of epoch {progress.epoch}, whose other faces would not be met; {remedy}, or resume "
            "from the end of an epoch by --epoch"
        )
    notice = ""
    if changed:
        what = ", ".join(_change(name, *values) for name, values in changed.items())
        notice = f"Resumed with other settings: {what}"
    return replace(progress, order=dict(order)), notice


def _change(name: str, old: Any, new: Any) -> str:
    if name in _OF_LISTS:
        return f"{_OF_LISTS[name]} are {new or 'none'} (were {old or 'none'})"
    named = {
        "faces": "the number of faces",
        "processes": "the number of processes",
    }.get(name, f"--{name}")
    return f"{named} is {new} (was {old})"
