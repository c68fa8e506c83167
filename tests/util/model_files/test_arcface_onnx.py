"""iresnets in ONNX files: every way of writing them gives the network that ran before."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.networks.iresnet import IResNet, create_iresnet, iresnet_depth_from_keys
from models.networks.recognition import ArcFaceRecognitionNet
from options.network_options import RecognitionOptions
from tests.util.model_files.iresnet_onnx import GraphWriter, randomise
from util.errors import InputError
from util.model_files.arcface_onnx import read_iresnet_onnx
from util.model_files.recognition_file import load_recognition_net
from util.training.checkpoint import load_network

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def network() -> IResNet:
    torch.manual_seed(0)
    return randomise(create_iresnet("r18"))


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return 2 * torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1)) - 1


def loaded(path: Path) -> IResNet:
    state = read_iresnet_onnx(path)
    network = create_iresnet(iresnet_depth_from_keys(state))
    load_network(network, state, path)
    return network.eval()


def run_onnx(path: Path, images: torch.Tensor) -> torch.Tensor:
    """What an independent runtime computes."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    return torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def assert_same(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert expected.std() > 0.01, "a network that says nothing shows nothing"
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) < tolerance * scale


@pytest.mark.parametrize(
    "ways",
    [
        {"fold": False},
        {"fold": True},
        {"fold": True, "matmul": True},
        {"fold": False, "matmul": True},
    ],
    ids=str,
)
@torch.no_grad()
def test_both_kinds_of_export_agree_with_a_runtime(
    tmp_path: Path, network: IResNet, faces: torch.Tensor, ways: dict[str, bool]
):
    path = GraphWriter(**ways).write(network, tmp_path / "w600k_r18.onnx")
    found = loaded(path)(faces)
    assert_same(found, network(faces))
    assert_same(found, run_onnx(path, faces))


def test_an_export_without_merging_gives_the_very_weights(tmp_path: Path, network: IResNet):
    path = GraphWriter(fold=False).write(network, tmp_path / "r18.onnx")
    state = read_iresnet_onnx(path)
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor), name


@torch.no_grad()
def test_mxnet_exports_take_colours_to_255(tmp_path: Path, network: IResNet, faces: torch.Tensor):
    path = GraphWriter(fold=True, mxnet=True).write(network, tmp_path / "arcface_r100_v1.onnx")
    found = loaded(path)(faces)
    assert_same(found, network(faces))
    assert_same(found, run_onnx(path, 127.5 * (faces + 1)))


@torch.no_grad()
def test_half_precision_is_widened(tmp_path: Path, network: IResNet, faces: torch.Tensor):
    path = GraphWriter(fold=True, half=True).write(network, tmp_path / "r18.onnx")
    assert all(tensor.dtype == torch.float32 for tensor in read_iresnet_onnx(path).values())
    assert_same(loaded(path)(faces), network(faces), 0.02)


@pytest.mark.parametrize(
    "exporter",
    ["old", "old, unmerged", pytest.param("new", marks=pytest.mark.slow)],
)
@torch.no_grad()
def test_pytorchs_own_exports(tmp_path: Path, network: IResNet, faces: torch.Tensor, exporter: str):
    """As insightface's torch2onnx.py does; the newest exporter keeps weights in a second file."""
    pytest.importorskip("onnxscript")
    path = tmp_path / "r18.onnx"
    settings: dict[str, Any] = {"dynamo": True} if exporter == "new" else {"dynamo": False}
    if exporter != "new":
        settings["opset_version"] = 11
    if exporter == "old, unmerged":
        settings |= {
            "do_constant_folding": False,
            "training": torch.onnx.TrainingMode.PRESERVE,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (faces,), path, input_names=["input.1"], **settings)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"Conv", "PRelu", "Gemm", "BatchNormalization", "Add"} <= kinds
    found = loaded(path)(faces)
    assert_same(found, network(faces))
    assert_same(found, run_onnx(path, faces))
    beside = path.with_name("r18.onnx.data")
    if beside.exists():
        beside.unlink()
        with pytest.raises(
            InputError, match=r"r18\.onnx: its weights are in r18\.onnx\.data, which is not"
        ):
            read_iresnet_onnx(path)


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["r34", "r50", "r100"])
@torch.no_grad()
def test_all_depths(tmp_path: Path, faces: torch.Tensor, depth: str):
    deep = randomise(create_iresnet(depth))
    path = GraphWriter(fold=True).write(deep, tmp_path / f"{depth}.onnx")
    found = loaded(path)
    assert iresnet_depth_from_keys(found.state_dict()) == depth
    assert_same(found(faces), deep(faces), 1e-3)


def test_a_path_is_enough_and_gradients_pass(tmp_path: Path, network: IResNet):
    path = GraphWriter(fold=True).write(network, tmp_path / "w600k_r18.onnx")
    net, message = load_recognition_net(RecognitionOptions("auto", str(path)))
    assert isinstance(net, ArcFaceRecognitionNet)
    assert message == f"ArcFace r18 from {path}"
    images = torch.rand(1, 3, 224, 224, requires_grad=True)
    transform = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    embedding = net(images, transform)
    reference = ArcFaceRecognitionNet(network)(images, transform)
    assert_same(embedding.detach(), reference.detach())
    target = torch.nn.functional.normalize(torch.randn(1, 512), dim=-1)
    gradients = [
        torch.autograd.grad(net.distance(e, target).sum(), images)[0]
        for e in (embedding, reference)
    ]
    assert gradients[1].abs().max() > 0
    torch.testing.assert_close(
        gradients[0], gradients[1], rtol=1e-3, atol=1e-3 * float(gradients[1].abs().max())
    )


def test_a_contradicting_depth_names_both(tmp_path: Path, network: IResNet):
    path = GraphWriter(fold=True).write(network, tmp_path / "w600k.onnx")
    with pytest.raises(InputError, match=r"--net_recog r50: .*w600k\.onnx holds r18"):
        load_recognition_net(RecognitionOptions("r50", str(path)))


# Other networks and files


def _graph(nodes: list[Any], shape: list[Any], weights: dict[str, np.ndarray], path: Path) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph), path)
    return path


def test_other_networks_are_named(tmp_path: Path, network: IResNet):
    path = tmp_path / "det_10g.onnx"
    weight = {"w": np.zeros((8, 3, 3, 3), np.float32)}
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    cases = [
        ([conv], [1, 3, 640, 640], r"its input is \[1, 3, 640, 640\]"),
        ([conv], ["N", 3, "h", "w"], r"kernel, stride.*are .*\(2, 2\)"),
        ([onnx.helper.make_node("Relu", ["x"], ["y"])], ["N", 3, 112, 112], "Relu follows x"),
    ]
    for nodes, shape, message in cases:
        _graph(nodes, shape, weight, path)
        with pytest.raises(InputError, match=rf"det_10g\.onnx: not an .*{message}.*w600k_r50"):
            read_iresnet_onnx(path)
    GraphWriter(fold=True).write(network, path)
    model = onnx.load(path)
    stride_2 = [n for n in model.graph.node if n.op_type == "Add"]
    stride_2[3].input[0] = stride_2[3].input[1]
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"adds something else|follow"):
        read_iresnet_onnx(path)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.9999])
def test_truncated_files_are_refused(tmp_path: Path, network: IResNet, fraction: float):
    path = GraphWriter(fold=True).write(network, tmp_path / "r18.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(InputError, match=r"r18\.onnx: damaged or not an ONNX file"):
        read_iresnet_onnx(path)


def test_damaged_graphs_are_refused_or_harmless(tmp_path: Path, network: IResNet):
    """Bytes of the part without weights changed at random: no other exception."""
    path = GraphWriter(fold=True).write(network, tmp_path / "r18.onnx")
    model = onnx.load(path)
    for weight in model.graph.initializer:  # small ones, so that 300 files take a second
        del weight.dims[:]
        weight.dims.append(1)
        weight.raw_data = b"\x00\x00\x80?"
    content = model.SerializeToString()
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        for position in random.integers(0, len(content), 3):
            changed[position] = random.integers(0, 256)
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"r18\.onnx: "):
            read_iresnet_onnx(path)


def test_a_weight_that_is_no_number_is_named(tmp_path: Path, network: IResNet):
    """A signalling NaN too, at which NumPy warns when it is widened."""
    path = GraphWriter(fold=True).write(network, tmp_path / "r18.onnx")
    model = onnx.load(path)
    first = model.graph.initializer[0]
    first.raw_data = b"\x01\x00\x80\x7f" + first.raw_data[4:]
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"r18\.onnx: conv1\.weight has numbers that are"):
        loaded(path)


def test_wrong_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "w600k_r50.onnx"
    path.write_bytes(b"<html>Please sign in</html>")
    with pytest.raises(InputError, match=r"w600k_r50\.onnx: not an ONNX file but a web page"):
        load_recognition_net(RecognitionOptions("auto", str(path)))
    torch.save({"conv1.weight": torch.ones(1)}, path)
    with pytest.raises(InputError, match=r"w600k_r50\.onnx: damaged or not an ONNX file"):
        read_iresnet_onnx(path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(InputError, match=r"w600k_r50\.onnx: .*pip install onnx"):
        read_iresnet_onnx(path)
