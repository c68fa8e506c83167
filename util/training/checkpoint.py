"""Checkpoints: written atomically, read without executing code, checked before they are used.

A checkpoint is a dict as in the public code: `net_recon` (a state dict), `opt_00` and `sched_00`
(optimiser and scheduler). Ours add `card`, which says what the coefficients mean. Public
checkpoints have no card; their network is a resnet50 for the bfm09 face model, trained with
landmarks as pixel indices.
"""

from __future__ import annotations

import math
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.parameters import ParameterLayout
from util.atomic import atomic_file, interrupts_deferred
from util.errors import InputError, causes
from util.training.checkpoint_kind import (
    DAMAGED,
    PUBLIC_FACE_MODEL,
    REMEDY,
    check_torch_file,
)
from util.training.checkpoint_names import list_checkpoints

FORMAT_VERSION = 1

# Parallel training prefixes every parameter; the public code removes it only in some versions.
_PARALLEL_PREFIX = "module."


@dataclass(frozen=True)
class CheckpointCard:
    """What a network's outputs mean: without the same meaning a checkpoint is useless."""

    net_recon: str
    """Architecture, as in `--net_recon`."""
    face_model: str
    """Name of the face model."""
    face_model_version: str
    """Version of the face model, for the message only."""
    face_model_hash: str
    """Hash of the arrays that give the coefficients their meaning; empty if not known."""
    layout: tuple[tuple[str, int], ...]
    """(name, size) of the coefficient blocks in their order."""
    landmark_origin: str
    """`index` or `centre`: where the training landmarks had their origin."""
    use_last_fc: bool = False
    """One linear layer instead of seven heads."""
    format_version: int = FORMAT_VERSION
    """Version of this record."""

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> CheckpointCard:
        """Read the plain values that a model or a checkpoint gives.

        Raises:
            KeyError, TypeError, ValueError: an entry is missing or malformed.
        """
        face_model = record["face_model"]
        if not isinstance(face_model, Mapping):
            raise TypeError("the face model is no record")
        return cls(
            net_recon=str(record["net_recon"]),
            face_model=str(face_model["name"]),
            face_model_version=str(face_model["version"]),
            face_model_hash=str(face_model["fingerprint"]),
            layout=tuple((str(name), int(size)) for name, size in dict(record["layout"]).items()),
            landmark_origin=str(record["landmark_origin"]),
            use_last_fc=bool(record.get("use_last_fc", False)),
            format_version=int(record.get("format_version", 1)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored under the key `card`."""
        return {
            "format_version": self.format_version,
            "net_recon": self.net_recon,
            "use_last_fc": self.use_last_fc,
            "face_model": {
                "name": self.face_model,
                "version": self.face_model_version,
                "fingerprint": self.face_model_hash,
            },
            "layout": dict(self.layout),
            "landmark_origin": self.landmark_origin,
        }


PUBLIC_CARD = CheckpointCard(
    net_recon="resnet50",
    face_model=PUBLIC_FACE_MODEL,
    face_model_version="",
    face_model_hash="",
    layout=tuple((block.name, block.size) for block in ParameterLayout.for_sizes().blocks),
    landmark_origin="index",
)
"""What a checkpoint without a card means."""


def save_checkpoint(path: Path | str, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never a part.

    Args:
        path: file to create or replace.
        state: nested dicts, lists and tuples of tensors, strings, numbers and None; nothing else,
            because it could not be read back without executing code.

    Raises:
        ValueError: a value of another type, or a tensor with numbers that are not finite: such a
            network must not replace a good one.
        InputError: the disk is full or refuses; the message says how much is needed.
    """
    path = Path(path)
    _check_content(state, "")
    try:
        # torch's writer turns a Ctrl-C in its midst into an error of its own.
        with interrupts_deferred(), atomic_file(path, durable=True) as file:
            torch.save(dict(state), file)
    except (OSError, RuntimeError) as error:
        # torch's writer raises an error of its own over the system's.
        refusal = next((e for e in causes(error) if isinstance(e, OSError)), None)
        if refusal is None:
            raise
        raise InputError(_refused(path, _byte_count(state), refusal)) from error


def load_checkpoint(path: Path | str, networks: tuple[str, ...] = ("net_recon",)) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without executing code that it may contain.

    The prefix `module.` of parallel training is removed from the networks' parameters.

    Args:
        path: the file.
        networks: names of the state dicts that it must hold.

    Raises:
        InputError: the file is missing, damaged, holds code, or lacks one of the networks.
    """
    path = Path(path)
    checkpoint = load_tensors(path)
    missing = [name for name in networks if not isinstance(checkpoint.get(name), Mapping)]
    if missing:
        found = ", ".join(str(key) for key in list(checkpoint)[:4]) or "nothing"
        raise InputError(
            f"{path}: no checkpoint of this model: it has no entry {missing[0]} "
            f"(found: {found}{', ...' if len(checkpoint) > 4 else ''}); take an epoch_*.pth "
            "that train.py wrote"
        )
    return {
        key: strip_parallel_prefix(value) if key.startswith("net_") else value
        for key, value in checkpoint.items()
    }


def load_tensors(path: Path | str) -> dict[str, Any]:
    """Read a dict of tensors and plain values that torch wrote, such as a state dict.

    Raises:
        InputError: the file is missing, damaged, holds code, or holds no dict.
    """
    path = Path(path)
    check_torch_file(path)
    damaged, remedy = f"{path}: {DAMAGED}", REMEDY
    try:
        if zipfile.is_zipfile(path):
            # torch does not verify the checksums that its own zip files carry.
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
            if broken is not None:
                raise InputError(f"{damaged} (checksum of {broken} is wrong); {remedy}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        # torch raises it for forbidden classes and for garbage alike; only the first names one.
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise InputError(
                f"{path}: contains Python objects besides tensors and plain values, which are not "
                "loaded because they can run any code; save the state dict alone"
            ) from error
        raise InputError(f"{damaged}; {remedy}") from error
    except Exception as error:
        # Garbage reaches every part of the reader (zip, pickle, storages), and each part raises
        # what it happens to raise: there is no smaller set that a damaged file stays within.
        raise InputError(f"{damaged} ({_what_is_wrong(error)}); {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: holds a {type(content).__name__} where a dict of parameters was expected; "
            f"{remedy}"
        )
    if not all(isinstance(key, str) for key in content):
        raise InputError(f"{path}: its keys are not names of parameters; {remedy}")
    return content


def _what_is_wrong(error: Exception) -> str:
    """What a reader of torch says of a damaged file; a missing entry is its error's whole text."""
    if isinstance(error, KeyError):
        return f"it refers to {error}, which it does not hold"
    if isinstance(error, EOFError):
        return "it ends too early"
    words = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return words[:120] or type(error).__name__


def read_card(checkpoint: Mapping[str, Any], path: Path | str) -> CheckpointCard:
    """Read what the network of a checkpoint predicts.

    Args:
        checkpoint: from `load_checkpoint`.
        path: its file, for messages.

    Returns:
        Its card, or `PUBLIC_CARD` with the architecture that its parameters show if it has none.

    Raises:
        InputError: the card is from a newer program or malformed.
    """
    if "card" not in checkpoint:
        return _public_card(checkpoint["net_recon"])
    record = checkpoint["card"]
    version = record.get("format_version", 1) if isinstance(record, Mapping) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise InputError(
            f"{path}: written in format {version}, this program reads up to {FORMAT_VERSION}; "
            "update the program"
        )
    try:
        if not isinstance(record, Mapping):
            raise TypeError("the card is no record")
        return CheckpointCard.from_dict(record)
    except KeyError as error:
        raise InputError(f"{path}: its card lacks {error}; take another checkpoint") from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        # Tensors of other shapes than a single number raise a RuntimeError.
        raise InputError(f"{path}: its card is malformed; take another checkpoint") from error


def check_card(found: CheckpointCard, expected: CheckpointCard, path: Path | str) -> None:
    """Refuse a checkpoint whose outputs mean something else than this run expects.

    A different `landmark_origin` is not an error: the caller may want to say so.

    Args:
        found: card of the checkpoint.
        expected: card of this run.
        path: the checkpoint's file, for messages.

    Raises:
        InputError: another architecture or face model.
    """
    if (found.net_recon, found.use_last_fc) != (expected.net_recon, expected.use_last_fc):
        raise InputError(
            f"{path}: its network is {_architecture(found)}, this run asks for "
            f"{_architecture(expected)}; give {_architecture_flags(found)}"
        )
    same_arrays = (
        not found.face_model_hash
        or not expected.face_model_hash
        or found.face_model_hash == expected.face_model_hash
    )
    same_layout = found.layout == expected.layout
    if found.face_model != expected.face_model or not (same_arrays and same_layout):
        theirs, ours = _face_model(found), _face_model(expected)
        if not same_layout:
            theirs += f" with the coefficients {_layout(found)}"
            ours += f" with {_layout(expected)}"
        raise InputError(
            f"{path}: trained for the face model {theirs}, this run uses {ours}; give --face_model "
            f"{found.face_model} of that version, or another checkpoint"
        )


def load_network(network: nn.Module, state: Mapping[str, Any], path: Path | str) -> None:
    """Load a state dict that must fit exactly.

    Args:
        network: module to fill in place; unchanged if the state does not fit.
        state: parameters by name.
        path: the file they come from, for messages.

    Raises:
        InputError: parameters are missing, unknown, of another shape or not finite.
    """
    wanted = network.state_dict()
    state = with_batch_counters(state, wanted)
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    if missing or unknown:
        raise InputError(
            f"{path}: does not fit the network: {_some('missing', missing)}"
            f"{'; ' if missing and unknown else ''}{_some('unknown', unknown)}; "
            "give the architecture that the file was trained with"
        )
    for name, parameter in wanted.items():
        value = state[name]
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"{path}: {name} is {shape} where the network has {tuple(parameter.shape)}; "
                "give the architecture that the file was trained with"
            )
        if not _is_finite(value):
            raise InputError(
                f"{path}: {name} has numbers that are not finite; take another checkpoint"
            )
    network.load_state_dict(state)


def with_batch_counters(state: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """Add the batch counters of batch normalisation, which files of old PyTorch versions lack."""
    counters = {
        name: torch.tensor(0)
        for name in wanted
        if name.endswith(".num_batches_tracked") and name not in state
    }
    return {**state, **counters}


def strip_parallel_prefix(state: Any) -> Any:
    """Remove `module.` from names if all of them have it; other values pass unchanged."""
    if not isinstance(state, Mapping) or not state:
        return state
    if not all(isinstance(name, str) and name.startswith(_PARALLEL_PREFIX) for name in state):
        return state
    return {name[len(_PARALLEL_PREFIX) :]: value for name, value in state.items()}


def _public_card(parameters: Mapping[str, Any]) -> CheckpointCard:
    """`PUBLIC_CARD` with the architecture that the parameter names show."""
    if "backbone.layer1.0.conv3.weight" in parameters:
        net_recon = "resnet50"
    elif "backbone.layer3.5.conv1.weight" in parameters:
        net_recon = "resnet34"
    elif "backbone.layer1.0.conv1.weight" in parameters:
        net_recon = "resnet18"
    else:
        net_recon = PUBLIC_CARD.net_recon
    return replace(PUBLIC_CARD, net_recon=net_recon, use_last_fc="backbone.fc.weight" in parameters)


def _refused(path: Path, needed: int, error: OSError) -> str:
    """What the system refused, how much room there is, and where the training stands."""
    message = f"{path} cannot be written: {error.strerror or error}; it needs {_megabytes(needed)}"
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    # Under a quota there may be room on the disk, and still none for this user.
    message += f", {folder} has {_megabytes(shutil.disk_usage(folder).free)} free. "
    if path.is_file():
        message += "The earlier file of this name is intact. "
    saved = list_checkpoints(path.parent)
    remedy = "Free space, or let the folder be written, then " + (
        "resume by --continue_train" if saved else "start again"
    )
    return message + remedy


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _byte_count(value: Any) -> int:
    """Size of the tensors in nested dicts, lists and tuples, which is all of a file but little."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(_byte_count(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_byte_count(item) for item in value)
    return 0


def _check_content(value: Any, name: str) -> None:
    """Raise ValueError for what could not, or should not, be read back."""
    where = name or "the checkpoint"
    if isinstance(value, Tensor):
        if not _is_finite(value):
            raise ValueError(f"{where} has numbers that are not finite; the file is not written")
    elif type(value) in (dict, OrderedDict):
        for key, item in value.items():
            if type(key) not in (str, int):
                raise ValueError(f"{where} has a key of type {type(key).__name__}: {key!r}")
            _check_content(item, f"{name}.{key}" if name else str(key))
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_content(item, f"{name}[{index}]")
    elif value is not None and type(value) not in (str, int, float, bool):
        raise ValueError(
            f"{where} is a {type(value).__name__}, which cannot be read without executing code; "
            "store tensors, strings and Python numbers"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite; integers and booleans always are."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
        return True
    if tensor.is_complex():
        return bool(torch.isfinite(tensor).all())
    # The sum is finite unless a number is not (or it overflows): one pass without a mask.
    return math.isfinite(float(tensor.detach().sum())) or bool(torch.isfinite(tensor).all())


def _some(label: str, names: list[str]) -> str:
    """`label a, b, c and 12 more`, or nothing for no names."""
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{label} {', '.join(names[:3])}{more}"


def _architecture(card: CheckpointCard) -> str:
    return card.net_recon + (" with one last linear layer" if card.use_last_fc else "")


def _architecture_flags(card: CheckpointCard) -> str:
    return f"--net_recon {card.net_recon} --use_last_fc {card.use_last_fc}"


def _face_model(card: CheckpointCard) -> str:
    details = [text for text in (card.face_model_version, card.face_model_hash[:12]) if text]
    return card.face_model + (f" ({', '.join(details)})" if details else "")


def _layout(card: CheckpointCard) -> str:
    return " ".join(f"{name}:{size}" for name, size in card.layout)
