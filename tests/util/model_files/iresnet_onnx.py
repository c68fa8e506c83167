"""Write an iresnet as an ONNX graph in the ways that exporters do, node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.networks.iresnet import IBasicBlock, IResNet


def randomise(network: IResNet) -> IResNet:
    """Statistics, scales and slopes unlike those of a new network, and activations of order one."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.2)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.2, 0.6)
    return network.eval()


class GraphWriter:
    """Collects nodes and weights.

    Args:
        fold: merge normalisations into the convolution or linear layer before them.
        mxnet: normalise colours in the graph, and add 2e-5 to variances.
        half: store weights in float16.
        matmul: write the linear layer as a product and a sum.
    """

    def __init__(
        self, *, fold: bool, mxnet: bool = False, half: bool = False, matmul: bool = False
    ) -> None:
        self.fold, self.mxnet, self.half, self.matmul = fold, mxnet, half, matmul
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.count = 0

    def write(self, network: IResNet, path: Path, input_size: int = 112) -> Path:
        import onnx
        from onnx import TensorProto, helper

        value = "input.1"
        if self.mxnet:
            value = self.add("Sub", [value, self.weight(np.full((1,), 127.5))])
            value = self.add("Mul", [value, self.weight(np.full((1,), 1 / 128))])
        if self.half:
            value = self.add("Cast", [value], to=TensorProto.FLOAT16)
        value = self.convolution(value, network.conv1, network.bn1)
        value = self.prelu(value, network.prelu)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            for block in stage:
                assert isinstance(block, IBasicBlock)
                value = self.block(value, block)
        value = self.norm(value, network.bn2)
        value = self.add("Dropout", [value])
        value = self.add("Flatten", [value], axis=1)
        value = self.linear(value, network.fc, network.features)
        if self.half:
            value = self.add("Cast", [value], to=TensorProto.FLOAT)
        shape = ["N", 3, input_size, input_size]
        graph = helper.make_graph(
            self.nodes,
            "iresnet",
            [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", 512])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        onnx.save(model, path)
        return path

    def add(self, kind: str, inputs: list[str], **settings: Any) -> str:
        from onnx import helper

        self.count += 1
        self.nodes.append(helper.make_node(kind, inputs, [f"v{self.count}"], **settings))
        return f"v{self.count}"

    def weight(self, array: torch.Tensor | np.ndarray) -> str:
        """An initialiser, read through an Identity as some exports do."""
        from onnx import numpy_helper

        self.count += 1
        array = array.detach().numpy() if isinstance(array, torch.Tensor) else array
        kept = array.astype(np.float16 if self.half else np.float32)
        self.weights.append(numpy_helper.from_array(kept, f"w{self.count}"))
        return self.add("Identity", [f"w{self.count}"])

    def block(self, value: str, block: IBasicBlock) -> str:
        y = self.norm(value, block.bn1)
        y = self.prelu(self.convolution(y, block.conv1, block.bn2), block.prelu)
        y = self.convolution(y, block.conv2, block.bn3)
        if block.downsample is not None:
            convolution, norm = block.downsample
            value = self.convolution(value, convolution, norm)  # type: ignore
        return self.add("Add", [y, value])

    def convolution(self, value: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
        weight, bias = convolution.weight, None
        if self.fold:
            factor, bias = self.factor_and_shift(norm)
            weight = weight * factor[:, None, None, None]
        if self.mxnet and value == "v3":  # the first one sees (c - 127.5) / 128
            weight = weight * (128 / 127.5)
        inputs = [value, self.weight(weight)] + ([] if bias is None else [self.weight(bias)])
        padding = [convolution.padding[0]] * 4
        strides, kernel = list(convolution.stride), list(convolution.kernel_size)
        value = self.add("Conv", inputs, pads=padding, strides=strides, kernel_shape=kernel)
        return value if self.fold else self.norm(value, norm)

    def factor_and_shift(self, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return factor, norm.bias - norm.running_mean * factor

    def norm(self, value: str, norm: Any) -> str:
        eps = 2e-5 if self.mxnet else norm.eps
        arrays = (norm.weight, norm.bias, norm.running_mean, norm.running_var + norm.eps - eps)
        inputs = [value, *map(self.weight, arrays)]
        return self.add("BatchNormalization", inputs, epsilon=eps)

    def prelu(self, value: str, prelu: nn.PReLU) -> str:
        return self.add("PRelu", [value, self.weight(prelu.weight[:, None, None])])

    def linear(self, value: str, linear: nn.Linear, norm: nn.BatchNorm1d) -> str:
        weight, bias = linear.weight, linear.bias
        if self.fold and not self.mxnet:
            factor, shift = self.factor_and_shift(norm)
            weight, bias = weight * factor[:, None], bias * factor + shift
        if self.matmul:
            value = self.add("MatMul", [value, self.weight(weight.T)])
            value = self.add("Add", [value, self.weight(bias)])
        else:
            value = self.add("Gemm", [value, self.weight(weight), self.weight(bias)], transB=1)
        return value if self.fold and not self.mxnet else self.norm(value, norm)
