"""Read an ArcFace iresnet from insightface's .onnx files into the state dict of `IResNet`.

Names differ from export to export, and most exports merge batch normalisations into the convolution
or linear layer before them, so the graph is walked from its input and each node is recognised by
what it follows:

    stem    Conv [BN] PRelu
    block   BN, Conv [BN], PRelu, Conv [BN], Add     to the block's input, or to Conv [BN] of it
    head    BN, Flatten, Gemm [BN]

A merged normalisation comes back as one that only adds the convolution's bias. Unlike an ONNX
runtime, the network lets gradients through.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks.iresnet import EMBEDDING_SIZE, INPUT_SIZE
from util.errors import InputError
from util.model_files.file_kind import foreign_kind

# Nodes that leave the numbers as they are (in inference) and change no more than the shape.
_TRANSPARENT = {"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
_STAGES = {64: 1, 128: 2, 256: 3, 512: 4}
_EPS = 1e-5
"""What PyTorch's batch normalisation adds to the variance."""

Array = NDArray[np.floating]


def read_iresnet_onnx(path: Path | str) -> dict[str, Tensor]:
    """Read an iresnet of any depth.

    Args:
        path: such as `w600k_r50.onnx`; weights in float16 are widened.

    Returns:
        State dict of `models.networks.iresnet.IResNet`, float32 on the CPU, for faces in [-1, 1].

    Raises:
        InputError: the file is missing, damaged, or another network; or `onnx` is not installed.
    """
    path = Path(path)
    model = _read_model(path)
    try:
        with np.errstate(all="ignore"):  # numbers of a damaged file; networks refuse them by name
            return _Walker(_Graph(model.graph)).network()
    except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
        # Inputs, shapes or numbers that a node of this kind always has.
        raise InputError(
            f"{path}: damaged ({type(error).__name__}: {error}); copy it again"
        ) from error
    except _GraphError as error:
        raise InputError(
            f"{path}: not an ArcFace iresnet ({error}); give an insightface recognition model "
            "such as w600k_r50.onnx or glintr100.onnx. Those that detect faces or landmarks "
            "(det_*, 2d106det, 1k3d68) and MobileFaceNets (w600k_mbf) are other networks"
        ) from error


def _read_model(path: Path) -> Any:
    """The parsed file, with weights that it keeps in files beside it."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if kind := foreign_kind(path):
        raise InputError(f"{path}: not an ONNX file but {kind}")
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            f"{path}: reading ONNX files needs the package onnx; install it with: pip install onnx"
        ) from error
    try:
        model = onnx.load(path, load_external_data=False)
        missing = [
            entry.value
            for weight in model.graph.initializer
            for entry in weight.external_data
            if entry.key == "location" and not (path.parent / entry.value).is_file()
        ]
        if missing:
            raise InputError(
                f"{path}: its weights are in {missing[0]}, which is not beside it; copy both files"
            )
        onnx.load_external_data_for_model(model, str(path.parent))
    except InputError:
        raise
    except Exception as error:
        # Protobuf's parser and onnx's own checks of external data share no base class.
        raise InputError(
            f"{path}: damaged or not an ONNX file ({type(error).__name__}); copy it again"
        ) from error
    if not model.graph.node:
        raise InputError(f"{path}: damaged or not an ONNX file (no network in it); copy it again")
    return model


class _GraphError(Exception):
    """The graph is not that of an iresnet."""


class _Graph:
    """Constants, and who reads which value; transparent nodes are looked through."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._aliases: dict[str, str] = {}
        self._constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            if node.op_type in _TRANSPARENT:
                self._aliases[node.output[0]] = self.resolve(node.input[0])
            elif node.op_type == "Constant":
                self._add_constant(node, numpy_helper)
            elif node.op_type == "Transpose" and self.is_constant(node.input[0]):
                permutation = attributes(node).get("perm")
                array = np.transpose(self.constant(node.input[0]), permutation)
                self._constants[node.output[0]] = array
            elif node.op_type != "Shape":  # which sizes a reshape only
                for name in {self.resolve(name) for name in node.input}:
                    self._readers[name].append(node)
        inputs = [item for item in graph.input if item.name not in self._constants]
        if len(inputs) != 1:
            raise _GraphError(f"it has {len(inputs)} inputs")
        sizes = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
        if len(sizes) != 4 or any(
            size not in (0, wanted)
            for size, wanted in zip(sizes[1:], (3, INPUT_SIZE, INPUT_SIZE), strict=True)
        ):
            raise _GraphError(
                f"its input is {sizes} where (batch, 3, {INPUT_SIZE}, {INPUT_SIZE}) was expected"
            )
        self.input = inputs[0].name
        self.outputs = [self.resolve(item.name) for item in graph.output]

    def _add_constant(self, node: Any, numpy_helper: Any) -> None:
        value = attributes(node).get("value")
        if value is not None:
            self._constants[node.output[0]] = numpy_helper.to_array(value)

    def resolve(self, name: str) -> str:
        """The value that a name stands for."""
        return self._aliases.get(name, name)

    def is_constant(self, name: str) -> bool:
        """Whether a value is known without an input."""
        return self.resolve(name) in self._constants

    def constant(self, name: str) -> Array:
        """A weight, in double precision, as merging adds roundings of its own."""
        if not self.is_constant(name):
            raise _GraphError(f"{name} is computed where a weight was expected")
        return np.asarray(self._constants[self.resolve(name)], dtype=np.float64)

    def readers(self, value: str) -> list[Any]:
        """The nodes that read a value."""
        return self._readers[value]

    def next(self, value: str, kind: str) -> Any:
        """The one node that reads a value, which must be of this kind."""
        found = self.readers(value)
        if len(found) != 1 or found[0].op_type != kind:
            raise _GraphError(
                f"{_kinds(found)} follows {value or 'the input'} where {kind} was expected"
            )
        return found[0]


class _Walker:
    """Follows the graph from its input and collects the parameters on the way."""

    def __init__(self, graph: _Graph) -> None:
        self._graph = graph
        self._state: dict[str, Array] = {}

    def network(self) -> dict[str, Tensor]:
        value, factor = self._input_scale()
        value = self._convolution(value, "conv1", "bn1", stride=1)
        self._state["conv1.weight"] *= factor
        value = self._prelu(value, "prelu")
        depths = dict.fromkeys(_STAGES.values(), 0)
        while len(self._graph.readers(value)) == 2:
            value = self._block(value, depths)
        value = self._norm(self._graph.next(value, "BatchNormalization"), "bn2")
        value = self._linear(value)
        self._check_end(value)
        return {name: torch.from_numpy(a.astype(np.float32)) for name, a in self._state.items()}

    def _input_scale(self) -> tuple[str, float]:
        """Where the network begins, and what its first weights must be multiplied by.

        Exports of MXNet take colours in 0..255 and normalise them in the graph, x = s (c - m);
        ours come in [-1, 1], c = 127.5 (f + 1), so that x = 127.5 s f if m is 127.5. Another mean
        could not be merged into a convolution that pads with zeros.
        """
        value, scale, shift = self._graph.input, 1.0, 0.0
        normalises = False
        while (node := self._arithmetic(value)) is not None:
            numbers = [self._graph.constant(n) for n in node.input if self._graph.is_constant(n)]
            number = _one_number(numbers[0])
            if node.op_type == "Sub":
                shift -= number
            elif node.op_type == "Add":
                shift += number
            else:
                number = 1 / number if node.op_type == "Div" else number
                scale, shift = scale * number, shift * number
            value, normalises = node.output[0], True
        if not normalises:
            return value, 1.0
        mean = -shift / scale
        if abs(mean - 127.5) > 0.01:
            raise _GraphError(f"it subtracts {mean:.6g} from colours where 127.5 was expected")
        return value, 127.5 * scale

    def _arithmetic(self, value: str) -> Any:
        """The node that adds or multiplies one number to a value, if that is what reads it."""
        found = self._graph.readers(value)
        if len(found) != 1 or found[0].op_type not in ("Sub", "Add", "Mul", "Div"):
            return None
        node = found[0]
        return node if self._graph.is_constant(node.input[1]) else None

    def _block(self, start: str, depths: dict[int, int]) -> str:
        graph = self._graph
        norms = [n for n in graph.readers(start) if n.op_type == "BatchNormalization"]
        others = [n for n in graph.readers(start) if n.op_type != "BatchNormalization"]
        if len(norms) != 1 or len(others) != 1 or others[0].op_type not in ("Add", "Conv"):
            raise _GraphError(
                f"{_kinds(graph.readers(start))} follow {start} where a block was expected"
            )
        # The number of channels, and so the stage, is known at the block's end only.
        outer, self._state = self._state, {}
        value = self._norm(norms[0], "bn1")
        value = self._convolution(value, "conv1", "bn2", stride=1)
        value = self._prelu(value, "prelu")
        stride = 2 if others[0].op_type == "Conv" else 1
        value = self._convolution(value, "conv2", "bn3", stride=stride)
        shortcut = start
        if others[0].op_type == "Conv":
            shortcut = self._read_convolution(
                others[0], "downsample.0", "downsample.1", stride=2, kernel=1
            )
        total = graph.next(value, "Add")
        if {graph.resolve(name) for name in total.input} != {value, shortcut}:
            raise _GraphError(f"{total.output[0]} adds something else than a block's two branches")
        channels = len(self._state["conv2.weight"])
        if channels not in _STAGES:
            raise _GraphError(f"a block has {channels} channels")
        stage = _STAGES[channels]
        if any(depths[later] for later in depths if later > stage):
            raise _GraphError(f"a block of {channels} channels follows a wider one")
        prefix = f"layer{stage}.{depths[stage]}"
        depths[stage] += 1
        outer |= {f"{prefix}.{name}": array for name, array in self._state.items()}
        self._state = outer
        return total.output[0]

    def _convolution(self, value: str, name: str, norm: str, *, stride: int) -> str:
        """A 3x3 convolution, normalised afterwards, whether merged or not."""
        node = self._graph.next(value, "Conv")
        return self._read_convolution(node, name, norm, stride=stride, kernel=3)

    def _read_convolution(
        self, node: Any, name: str, norm: str, *, stride: int, kernel: int
    ) -> str:
        settings = attributes(node)
        weight = self._graph.constant(node.input[1])
        found = (
            weight.shape[2:],
            tuple(settings.get("strides", (1, 1))),
            tuple(settings.get("pads", (0,) * 4)),
            settings.get("group", 1),
            tuple(settings.get("dilations", (1, 1))),
        )
        wanted = ((kernel,) * 2, (stride,) * 2, (kernel // 2,) * 4, 1, (1, 1))
        if found != wanted:
            raise _GraphError(
                f"kernel, stride, padding, groups and dilation of {node.output[0]} are {found} "
                f"where {wanted} was expected"
            )
        self._state[f"{name}.weight"] = weight
        bias = self._graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight))
        return self._optional_norm(node.output[0], norm, bias)

    def _optional_norm(self, value: str, name: str, bias: Array) -> str:
        """The normalisation of a layer with this bias; merged ones leave nothing but the bias."""
        readers = self._graph.readers(value)
        if len(readers) == 1 and readers[0].op_type == "BatchNormalization":
            value = self._norm(readers[0], name)
            self._state[f"{name}.running_mean"] = self._state[f"{name}.running_mean"] - bias
            return value
        self._state |= {
            f"{name}.weight": np.ones(len(bias)),
            f"{name}.bias": bias,
            f"{name}.running_mean": np.zeros(len(bias)),
            f"{name}.running_var": np.full(len(bias), 1 - _EPS),
        }
        return value

    def _norm(self, node: Any, name: str) -> str:
        weight, bias, mean, variance = (self._graph.constant(n).ravel() for n in node.input[1:5])
        # MXNet adds another number to the variance than PyTorch does.
        eps = attributes(node).get("epsilon", _EPS)
        if abs(eps - _EPS) > 1e-9:
            weight = weight * np.sqrt((variance + _EPS) / (variance + eps))
        self._state |= {
            f"{name}.weight": weight,
            f"{name}.bias": bias,
            f"{name}.running_mean": mean,
            f"{name}.running_var": variance,
        }
        return node.output[0]

    def _prelu(self, value: str, name: str) -> str:
        node = self._graph.next(value, "PRelu")
        slopes = self._graph.constant(node.input[1]).ravel()
        # One slope for all channels is written once.
        channels = len(next(reversed(self._state.values())))
        self._state[f"{name}.weight"] = np.broadcast_to(slopes, (channels,)).copy()
        return node.output[0]

    def _linear(self, value: str) -> str:
        """The last linear layer, as one node or as product and sum."""
        readers = self._graph.readers(value)
        kind = readers[0].op_type if len(readers) == 1 else ""
        node = self._graph.next(value, "MatMul" if kind == "MatMul" else "Gemm")
        weight = self._graph.constant(node.input[1])
        settings = attributes(node)
        if not settings.get("transB", 0):
            weight = weight.T
        weight = weight * settings.get("alpha", 1.0)
        bias, value = np.zeros(len(weight)), node.output[0]
        if len(node.input) > 2:
            bias = self._graph.constant(node.input[2]).ravel() * settings.get("beta", 1.0)
        elif kind == "MatMul" and (total := self._sum_with_constant(value)) is not None:
            constants = (n for n in total.input if self._graph.is_constant(n))
            bias, value = self._graph.constant(next(constants)).ravel(), total.output[0]
        self._state["fc.weight"], self._state["fc.bias"] = weight, bias
        return self._optional_norm(value, "features", np.zeros(len(weight)))

    def _sum_with_constant(self, value: str) -> Any:
        readers = self._graph.readers(value)
        if len(readers) != 1 or readers[0].op_type != "Add":
            return None
        return readers[0] if any(map(self._graph.is_constant, readers[0].input)) else None

    def _check_end(self, value: str) -> None:
        """The embedding must be the output; scaling it to unit length may follow."""
        after = {node.op_type for node in self._graph.readers(value)}
        if value not in self._graph.outputs and not after & {"LpNormalization", "ReduceL2"}:
            raise _GraphError(f"{_kinds(self._graph.readers(value))} follows the embedding")
        size = len(self._state["fc.weight"])
        if size != EMBEDDING_SIZE:
            raise _GraphError(f"its embedding has {size} numbers where {EMBEDDING_SIZE} are usual")


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values."""
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _kinds(nodes: list[Any]) -> str:
    return " and ".join(sorted(node.op_type for node in nodes)) or "nothing"


def _one_number(array: Array) -> float:
    """A constant that is the same for all channels."""
    if array.size == 0 or not np.allclose(array, array.flat[0]):
        raise _GraphError("it normalises the colour channels differently")
    return float(array.flat[0])
