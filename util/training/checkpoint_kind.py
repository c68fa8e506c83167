"""Which network a checkpoint holds, by the names in it; torch-free, to refuse the other at once."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from util.errors import InputError
from util.model_files.file_kind import TAR, foreign_kind, is_text

RNET, SYNERGY = "net_recon", "net_synergy"
"""Keys of the networks in our checkpoints."""
_NAMES = {RNET: "an R-Net", SYNERGY: "a SynergyNet"}
_MODELS = {RNET: "facerecon", SYNERGY: "synergy"}
PUBLIC_FACE_MODEL = "bfm09"
"""Of checkpoints without a card, which are the public code's."""
_STATE, _PUBLIC_SYNERGY = "state_dict", "I2P."
"""Of the public SynergyNet: the key of its network, and what stands in the names of its weights."""

_MOST_BYTES = 1 << 24
"""Of the pickle without the numbers; that of a checkpoint has a few hundred kilobytes."""
DAMAGED = "damaged or not a PyTorch file"
REMEDY = "take another checkpoint, or copy it again"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
"""How PyTorch's files begin: since 1.6 with the first, those before with the other."""
_LEGACY = b"\x80\x02"
"""How files of PyTorch before 1.6 begin: pickles one after the other, of which the first three
(magic number, version, machine) are short."""


def check_torch_file(path: Path) -> None:
    """Refuse what begins, or ends, as no file of PyTorch does.

    Raises:
        InputError: there is no such file, or it is something else; the message begins with it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    kind = foreign_kind(path)
    if kind == TAR:
        raise InputError(
            f"{path}: a tar file; PyTorch 0.1 wrote such checkpoints, which cannot be read without "
            "executing code that they may contain. If it is one and you trust it, load and save it "
            "once: torch.save(torch.load(file, weights_only=False), new_file); other archives must "
            "be unpacked"
        )
    if kind:
        raise InputError(f"{path}: not a PyTorch file but {kind}")
    with path.open("rb") as file:
        head = file.read(512)
    if not head.startswith((_ZIP, _PICKLE)):
        what = "" if not is_text(head) else " (it is text)" if head else " (it is empty)"
        raise InputError(f"{path}: {DAMAGED}{what}; {REMEDY}")
    if head.startswith(_ZIP) and not zipfile.is_zipfile(path):
        raise InputError(f"{path}: {DAMAGED} (its end is missing); {REMEDY}")


def check_kind(path: Path, wanted: str, *, either: bool = True) -> None:
    """Refuse what is no checkpoint, or one of the other network.

    What else may be wrong with the file, its reader says.

    Args:
        path: the file; it is there.
        wanted: RNET or SYNERGY.
        either: whether the command takes the other network as well, by another --model.

    Raises:
        InputError: it holds the other network, or is no file of PyTorch.
    """
    check_torch_file(path)
    found = network_of(path)
    if found not in (None, wanted):
        if not either:
            raise InputError(
                f"{path} holds {_NAMES[found]}, and this command needs {_NAMES[wanted]}; name "
                "another checkpoint"
            )
        raise InputError(
            f"{path} holds {_NAMES[found]}, and --model {_MODELS[wanted]} needs {_NAMES[wanted]}; "
            f"give --model {_MODELS[found]}, or another checkpoint"
        )


def network_of(path: Path) -> str | None:
    """RNET or SYNERGY; None where names do not tell, or the file cannot be read."""
    content = _content_without_numbers(path)
    if not isinstance(content, Mapping):
        return None
    if (held := {RNET, SYNERGY} & content.keys()) and len(held) == 1:
        return held.pop()
    state = content.get(_STATE)
    names = state if isinstance(state, Mapping) else ()
    return SYNERGY if any(_PUBLIC_SYNERGY in str(name) for name in names) else None


def face_model_of(path: Path) -> str:
    """The name of the face model that an R-Net was trained for; "" where the file does not tell."""
    content = _content_without_numbers(path)
    if not isinstance(content, Mapping) or RNET not in content:
        return ""
    card = content.get("card", {"face_model": {"name": PUBLIC_FACE_MODEL}})
    record = card.get("face_model") if isinstance(card, Mapping) else None
    name = record.get("name") if isinstance(record, Mapping) else None
    return name if isinstance(name, str) else ""


def _content_without_numbers(path: Path) -> Any:
    """What was saved, with an idle object for each tensor; None where it cannot be read so."""
    try:
        with path.open("rb") as file:
            if file.read(2) == _LEGACY:
                file.seek(0)
                for _ in range(3):
                    _Idle.read(file)
                return _Idle.read(file)
        with zipfile.ZipFile(path) as archive:
            (name,) = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if archive.getinfo(name).file_size > _MOST_BYTES:
                return None
            with archive.open(name) as file:
                return _Idle.read(file)  # pyright: ignore[reportArgumentType]
    except Exception:
        # Garbage reaches every part of both readers, and each raises what it happens to raise.
        return None


class _Idle:
    """Stands for whatever a pickle calls, and for what comes out of it; does nothing."""

    def __new__(cls, *_args: Any, **_named: Any) -> _Idle:
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    @staticmethod
    def read(file: BinaryIO) -> Any:
        """The next pickle of a file, none of whose functions is called."""
        return _Reader(file, encoding="latin1").load()


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dict = (module, name) == ("collections", "OrderedDict")
        return OrderedDict if is_dict else _Idle

    def persistent_load(self, pid: Any) -> Any:
        return _Idle()
