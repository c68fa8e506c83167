"""Read the data in pickles without executing them.

A pickle names functions and calls them; whoever writes one decides what runs on the reader's
machine. Here only the few names that arrays are made of mean anything, and they mean functions of
this module, which a pickle can call but not change. Objects of libraries that such files come with
(chumpy, scipy.sparse) become `Passive` ones, which keep what the file says of them and do nothing.
Any other name is refused.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from util.errors import InputError
from util.model_files.file_kind import foreign_kind

_PASSIVE_LIBRARIES = ("chumpy", "scipy.sparse")
_PLAIN_KINDS = "biufSUO"
_ZIP = b"PK\x03\x04"


class Passive:
    """Stands for an object whose class is not loaded."""

    origin = ""
    """Module and name of the class."""

    def __new__(cls, *_args: Any, **_named: Any) -> Passive:
        """Take no notice of the arguments."""
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def entry(self, *names: str) -> Any:
        """The first of these attributes that the object had; None if it had none."""
        state = getattr(self, "state", None)
        if isinstance(state, tuple) and len(state) == 2:  # of classes with slots
            state = {**(state[0] or {}), **(state[1] or {})}
        if not isinstance(state, dict):
            return None
        return next((state[name] for name in names if name in state), None)


class RefusedName(pickle.UnpicklingError):
    """A pickle asks for something that is no data."""


def read_pickle(path: Path, remedy: str) -> Any:
    """Read a pickle, of Python 2 or 3.

    Args:
        path: the file.
        remedy: end of every message: which file is the right one.

    Returns:
        Python's own containers and numbers, numpy arrays, and `Passive` objects.

    Raises:
        InputError: the file is missing, something else, damaged, or asks for what is no data.
    """
    return _read(path, remedy, _load)


def read_npy(path: Path, remedy: str) -> Any:
    """Read a `.npy` file, objects in it as `read_pickle` does; a lone object comes out itself."""

    def load(file: BinaryIO) -> Any:
        array = _load_npy(file)
        return array.item() if array.dtype == object and array.ndim == 0 else array

    return _read(path, remedy, load)


def read_npz(path: Path, remedy: str) -> dict[str, Any]:
    """Read all arrays of a `.npz` file, objects in it as `read_pickle` does."""

    def load(file: BinaryIO) -> dict[str, Any]:
        arrays = {}
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                content = io.BytesIO(archive.read(name))
                array = _load_npy(content)
                is_object = array.dtype == object and array.ndim == 0
                arrays[name.removesuffix(".npy")] = array.item() if is_object else array
        return arrays

    return _read(path, remedy, load, is_zip=True)


def _read(path: Path, remedy: str, load: Callable[[BinaryIO], Any], is_zip: bool = False) -> Any:
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    if kind := foreign_kind(path):
        raise InputError(f"{path} is {kind}; {remedy}")
    try:
        with path.open("rb") as file:
            head = file.read(4)
            if not head:
                raise InputError(f"{path} is empty; {remedy}")
            if (head == _ZIP) != is_zip:
                what = "no zip archive, as .npz files are" if is_zip else "a zip archive; unpack it"
                raise InputError(f"{path} is {what}; {remedy}")
            file.seek(0)
            return load(file)
    except InputError:
        raise
    except RefusedName as error:
        raise InputError(
            f"{path} asks for {error}, which is no part of a face model: it is another file, or "
            f"made to run commands; {remedy}"
        ) from error
    except Exception as error:
        # Garbage reaches every part of the readers, and each raises what it happens to raise.
        raise InputError(f"{path} is damaged or cut short ({error}); {remedy}") from error


def _load(file: BinaryIO) -> Any:
    # latin1 is how numpy reads the bytes of arrays that Python 2 wrote.
    return _Unpickler(file, encoding="latin1").load()


def _load_npy(file: BinaryIO) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        array = _load(file)
        if not isinstance(array, np.ndarray):
            raise ValueError("its object is no array")
        return array
    count = int(np.prod(shape, dtype=np.int64))
    content = file.read(count * dtype.itemsize)
    array = np.frombuffer(content, dtype, count)
    return array.reshape(shape, order="F" if is_fortran else "C")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (found := _MEANINGS.get((module, name))) is not None:
            return found
        if module.startswith(tuple(f"{library}." for library in _PASSIVE_LIBRARIES)):
            return type(name, (Passive,), {"origin": f"{module}.{name}"})
        raise RefusedName(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedName(f"the outside object {pid!r}")


class _Function:
    """What a pickle may call. The attributes of a plain function it could set, its defaults too."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RefusedName(f"another {name} of {self._call.__name__}")


class _ArrayClass(Passive):
    """Stands for numpy.ndarray where a pickle names it as an argument."""


@_Function
def _new_object(cls: Any, *_rest: Any) -> Passive:
    """copyreg._reconstructor, as old classes are made."""
    if not (isinstance(cls, type) and issubclass(cls, Passive)):
        raise RefusedName(f"an object of {getattr(cls, '__name__', cls)}")
    return cls()


@_Function
def _new_array(*_arguments: Any) -> np.ndarray:
    """Numpy's _reconstruct: an empty array, whose content comes as its state."""
    return np.ndarray.__new__(np.ndarray, (0,), "b")


@_Function
def _dtype(name: Any, *_rest: Any) -> np.dtype:
    dtype = np.dtype(str(name))
    if dtype.kind not in _PLAIN_KINDS:
        raise RefusedName(f"numbers of the type {name}")
    return dtype


@_Function
def _scalar(dtype: np.dtype, content: Any) -> Any:
    if dtype.hasobject:
        raise RefusedName("a lone object")
    raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
    return np.frombuffer(raw, dtype, 1)[0]


@_Function
def _from_buffer(buffer: Any, dtype: np.dtype, shape: Any, order: str = "C", *_: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)  # pyright: ignore


@_Function
def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if encoding.lower().replace("-", "") != "latin1":
        raise RefusedName(f"the encoding {encoding}")
    return text.encode("latin1")


@_Function
def _torch_storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


@_Function
def _torch_tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: Any) -> np.ndarray:
    tensor = torch.tensor([], dtype=storage.dtype).set_(storage, offset, size, stride)
    return tensor.numpy().copy()


_MEANINGS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _torch_tensor,
    ("torch.storage", "_load_from_bytes"): _torch_storage,
}
for _package in ("numpy.core", "numpy._core"):
    _MEANINGS[f"{_package}.multiarray", "_reconstruct"] = _new_array
    _MEANINGS[f"{_package}.multiarray", "scalar"] = _scalar
    _MEANINGS[f"{_package}.numeric", "_frombuffer"] = _from_buffer
for _module in ("copy_reg", "copyreg"):
    _MEANINGS[_module, "_reconstructor"] = _new_object
for _module in ("__builtin__", "builtins"):
    _MEANINGS[_module, "object"] = Passive
