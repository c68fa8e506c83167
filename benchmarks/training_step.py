"""Where a training step goes: batch 8 on the CPU, split into its parts, both R-Nets.

python -m benchmarks.training_step [--gpu]

Everything but the networks (decoding, normals, light, rendering, losses, backward through them)
should stay below a tenth of the step of resnet50. The networks are the R-Net, with the optimiser's
step over its weights, and the recognition network. Loading of data is not part of it.

`--gpu` times whole steps on a GPU in place of that, by precision, renderer and compilation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from benchmarks.renderer import gpu_backends
from benchmarks.timing import compare
from models.assets import ModelAssets
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.landmarks import five_from_68, to_index
from models.networks.recognition import RecognitionNet
from models.networks.reconstruction import create_reconstruction_net
from models.objective import WeakObjective
from models.parameters import Coefficients
from models.renderer import Renderer
from models.schedule import create_optimizer
from models.similarity import estimate_similarity
from models.stages import pose_face, reconstruct, shape_face
from options import parse_command
from options.face_options import FaceModelOptions
from options.loss_options import ObjectiveOptions
from options.network_options import OptimiserOptions, RecognitionOptions, ReconstructionNetOptions
from util.assets import load_assets, load_face_model
from util.model_files.recognition_file import load_recognition_net

BATCH = 8
GPU_BATCH = 32
TARGET = 0.1
"""Largest share of everything but the networks, with resnet50."""


def main() -> None:
    """Print the parts of a step for the open face model at its level, or steps on a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--gpu", action="store_true", help="time whole steps on a GPU")
    if parser.parse_args().gpu:
        if not torch.cuda.is_available():
            parser.error("--gpu: torch sees no GPU here; leave it out")
        on_gpu()
        return
    torch.manual_seed(0)
    face_model = load_face_model(FaceModelOptions("open"))
    recognition, message = load_recognition_net(RecognitionOptions(net_recog="dlib"))
    assert recognition is not None
    print(f"{face_model.card}, {face_model.vertex_count} vertices; {message}")
    camera, renderer = Camera.rnet(), Renderer()
    batch = _batch(face_model, camera, renderer, recognition, BATCH)
    flat = 0.3 * torch.randn(BATCH, face_model.layout.size)
    flat[:, face_model.layout.slices["translation_dm"]] = 0

    objective = WeakObjective(face_model, None, ObjectiveOptions())
    images = batch.images.contiguous(memory_format=torch.channels_last)
    rendered = reconstruct(face_model, renderer, camera, _leaf(face_model, flat))
    nets = {
        name: create_reconstruction_net(ReconstructionNetOptions(name), face_model.layout)
        for name in ("resnet50", "dlib")
    }
    for net in nets.values():
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    settings = OptimiserOptions()
    optimizers = {
        name: create_optimizer(net.parameter_groups(settings.lr), settings)
        for name, net in nets.items()
    }

    def network(name: str) -> None:
        optimizers[name].zero_grad()
        nets[name](images).square().sum().backward()

    def recognition_only() -> None:
        image, transforms = rendered.rendering.image, batch.recognition_transforms
        assert image is not None and transforms is not None
        with torch.no_grad():
            target = recognition(batch.images, transforms)
        feature = recognition(image.detach().requires_grad_(), transforms)
        recognition.distance(feature, target).sum().backward()

    def decode() -> None:
        shaped = shape_face(face_model, _leaf(face_model, flat))
        (shaped.normals_object.square().sum() + shaped.albedo.sum()).backward()

    def decode_and_pose() -> None:
        coefficients = _leaf(face_model, flat)
        posed = pose_face(face_model, shape_face(face_model, coefficients), coefficients, camera)
        (posed.vertices_camera.sum() + posed.colours.sum()).backward()

    def all_but_networks() -> None:
        reconstruction = reconstruct(face_model, renderer, camera, _leaf(face_model, flat))
        torch.stack(list(objective(reconstruction, batch).values())).sum().backward()

    table = compare(
        {
            "R-Net resnet50": lambda: network("resnet50"),
            "R-Net dlib": lambda: network("dlib"),
            "optimiser resnet50": lambda: optimizers["resnet50"].step(),
            "optimiser dlib": lambda: optimizers["dlib"].step(),
            "recognition dlib: photo, rendering": recognition_only,
            "decode: shape, normals, albedo": decode,
            "decode, pose, light": decode_and_pose,
            "all but networks: decode to losses": all_but_networks,
        },
        repeats=8,
        title=f"parts of a training step, batch {BATCH}, {torch.get_num_threads()} threads",
    )
    print(table)
    recognition_time = table["recognition dlib: photo, rendering"].median
    rest = table["all but networks: decode to losses"].median
    for name in nets:
        own = table[f"R-Net {name}"].median + table[f"optimiser {name}"].median
        step = own + recognition_time + rest
        target = f" (target below {TARGET:.0%})" if name == "resnet50" else ""
        print(
            f"step with {name}: {1e3 * step:.0f} ms, all but the networks {rest / step:.1%}{target}"
        )


def on_gpu() -> None:
    """Print whole steps of the R-Net with all losses, in turns, and the memory of each.

    All start from the same weights and see the same faces, so the losses of the first step are
    alike; the memory is what each takes beyond those before it.
    """
    gpu = torch.device("cuda")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {GPU_BATCH}")
    backends = gpu_backends(gpu)
    runs = [(name, amp, "False") for name in backends for amp in ("none", "bf16", "fp16")]
    runs.append((backends[-1], "bf16", "True"))
    cases: dict[str, Callable[[], object]] = {}
    memory: dict[str, float] = {}
    losses: dict[str, float] = {}
    for renderer, amp, compiled in runs:
        name = f"{renderer}, {amp}{', compiled' if compiled == 'True' else ''}"
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        model = _trained_model(["--renderer", renderer, "--amp", amp, "--compile", compiled], gpu)
        model.optimize_parameters()
        losses[name] = model.losses["all"].item()
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 1e9
        cases[name] = model.optimize_parameters
    table = compare(cases, repeats=20, warm_up=3, title="steps of resnet50, all losses")
    print(table)
    for timing in table.timings:
        rate = GPU_BATCH / timing.median
        print(
            f"{timing.name}: {rate:.0f} images/s, {memory[timing.name]:.1f} GB, "
            f"loss of the first step {losses[timing.name]:.4g}"
        )


def _trained_model(flags: list[str], device: torch.device) -> FaceReconModel:
    """An R-Net as `train.py` would build it, with its input, ready for steps; always the same."""
    torch.manual_seed(0)
    fixed = ["--face_model", "open", "--net_recog", "dlib", "--init_path", ""]
    options = parse_command(FaceReconModel.option_groups, [*fixed, *flags])
    assets = load_assets(options)
    assert isinstance(assets, ModelAssets) and assets.recognition_net is not None
    face_model, recognition = assets.face_model, assets.recognition_net
    batch = _batch(face_model, Camera.rnet(), Renderer(), recognition, GPU_BATCH)
    model = FaceReconModel(options, assets, device)
    model.set_input(batch)
    return model


def _leaf(face_model: FaceModel, flat: torch.Tensor) -> Coefficients:
    """Coefficients that gradients stop at."""
    return face_model.layout.split(flat.clone().requires_grad_())


def _batch(
    face_model: FaceModel,
    camera: Camera,
    renderer: Renderer,
    recognition: RecognitionNet,
    size: int,
) -> FaceBatch:
    """Renderings of the mean face as photos, with all supervision."""
    mean = reconstruct(face_model, renderer, camera, face_model.layout.zeros(size))
    assert mean.rendering.image is not None
    landmarks = mean.posed.landmarks_px
    # Templates are in pixel indices.
    five = to_index(five_from_68(landmarks), "centre")
    return FaceBatch(
        images=mean.rendering.image.clamp(0, 1),
        paths=("mean face",) * size,
        landmarks_px=landmarks,
        skin_mask=mean.rendering.mask,
        recognition_transforms=estimate_similarity(five, recognition.template),
    )


if __name__ == "__main__":
    main()
