"""Seconds a photo of `test.py`, all files included, side by side with the public way.

python -m benchmarks.reconstruction [--photos 100] [--repeats 3]

Once with all files that it writes unless it is told otherwise, of which most are not in the public
code (`.json`, `.glb`, the photo's overlay, the page), and once with the public code's files and
the `.json` beside them.

The start is left out: models are loaded and compiled before the clock runs. The network is an
untrained ResNet-50, since what it predicts makes no difference to the time; the mesh has 35,709
vertices, as many as the published face model, made by subdividing the open one.

The public way is plainly re-implemented: one thread, one photo after the other, loading, network,
writing in turn, the mesh by trimesh, the picture by Pillow's defaults. Alignment, normals and
rendering are ours in both, which are faster than the public ones on a CPU: the ratio is at most
too small.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csr_matrix

import test as test_command
from benchmarks.data_preparation import write_photos
from benchmarks.timing import TimingTable, compare
from data.alignment import align_face
from data.photo_folder import PhotoFace, PhotoFolder
from data.preparation import PreparationOptions, prepare_folders
from models import create_model
from models.facerecon_model import FaceReconModel
from options import ParsedOptions, parse_command
from options.base_options import BaseOptions
from options.output_options import OutputOptions
from options.test_options import TestOptions
from util.assets import OPEN_FACE_MODEL, load_assets
from util.devices import one_thread
from util.model_files.face_model_file import read_face_model, write_face_model
from util.photos import network_run
from util.photos.coefficient_file import PUBLIC_KEYS
from util.photos.face_result import FaceResult
from util.photos.photo_reconstruction import reconstruct_faces, to_batch
from util.photos.results import ResultWriter, write_face
from util.training.checkpoint_names import checkpoint_path
from util.training.trained_model import load_reconstruction_model
from util.training.training_state import Progress, save_training

VERTICES = 35_709
PUBLIC_FILES = {
    TestOptions: {"photo_overlay": False, "report": False},
    OutputOptions: {"save": ("none",)},
}
"""Options by which `test.py` writes what the public code does, and the `.json`."""
TARGET, AIM = 3, 5
"""How many times as fast as the public way `test.py` must be on two cores, and should be."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    cores = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        root = Path(name)
        write_large_model(root / "large.npz", VERTICES)
        make_photos(root / "given", arguments.photos)
        shutil.copytree(root / "given", root / "found", ignore=shutil.ignore_patterns("*.txt"))
        with contextlib.redirect_stdout(io.StringIO()):
            large = Command(root, "resnet50", "--face_model", str(root / "large.npz"))
            plain = large.unfolded()
            small = {
                net: Command(root, net, "--face_model", "open") for net in ("resnet50", "dlib")
            }

        print(f"{arguments.photos} photos, {large.model.face_model.vertex_count} vertices")
        every, public = f"test.py, {cores} threads", "  the public code's files"
        table = compare(
            {
                "public way, 1 thread": lambda: public_way(plain, large.photos("given"), root),
                every: large.runner("given"),
                public: large.runner("given", PUBLIC_FILES),
            },
            repeats=arguments.repeats,
        )
        print_per_photo(table, arguments.photos)
        print(
            f"{table.ratio(public):.1f} times as fast as the public way with its files "
            f"(target {TARGET}, aim {AIM}, on two cores), {table.ratio(every):.1f} with all"
        )

        face = one_face(large)
        print("\nWriting the files of one face, 1 thread")
        with one_thread():
            table = compare(
                {
                    "public way": lambda: write_the_public_way(root, face),
                    "ours": lambda: write_face(root, face),
                },
                repeats=20,
            )
        print_per_photo(table, 1)

        print("\nOpen face model; five points given, or faces found")
        cases = {
            f"{net}, faces {folder}": small[net].runner(folder)
            for folder in ("given", "found")
            for net in ("resnet50", "dlib")
        }
        print_per_photo(compare(cases, repeats=arguments.repeats), arguments.photos)


def print_per_photo(table: TimingTable, photos: int) -> None:
    """Median milliseconds a photo, and how many times as fast as the first case."""
    for timing in table.timings:
        each = 1e3 * timing.median / photos
        print(f"{timing.name:<30} {each:8.1f} ms a photo   x {table.ratio(timing.name):.2f}")


class Command:
    """`test.py` with everything loaded, in the folder of the benchmark."""

    def __init__(self, root: Path, net: str, *argv: str) -> None:
        """Save an untrained network as a checkpoint, and load it as the command does."""
        save_untrained(root, net, *argv)
        line = ["--name", net, "--checkpoints_dir", str(root), "--gpu_ids", "-1", *argv]
        self.root = root
        self.model, self.options = load_reconstruction_model(
            parse_command(test_command.GROUPS, line)
        )

    def photos(self, folder: str) -> PhotoFolder:
        """The photos of a folder below the root."""
        return network_run.find_photos(self.model, self._options_of(folder, {}))

    def runner(
        self, folder: str, files: Mapping[type, Mapping[str, object]] | None = None
    ) -> Callable[[], None]:
        """What reconstructs a folder and writes all files, or those of other options."""
        options = self._options_of(folder, files or {})
        run, outputs = network_run.prepare_run(self.model, options)

        def reconstruct() -> None:
            results = self.root / "results"
            with ResultWriter(results, outputs, options=options[OutputOptions]) as writer:
                run.folder(network_run.find_photos(self.model, options), writer)
            if writer.photos[0] != writer.photos[1]:
                raise RuntimeError("the measurement is void: not all photos gave a face")

        return reconstruct

    def _options_of(self, folder: str, files: Mapping[type, Mapping[str, object]]) -> ParsedOptions:
        options = self.options.with_values(TestOptions, img_folder=str(self.root / folder))
        for group, values in files.items():
            options = options.with_values(group, **values)
        return options

    def unfolded(self) -> FaceReconModel:
        """A model with batch normalisations as trained, in the usual memory format."""
        model = create_untrained(self.options)
        model.net_recon.to(memory_format=torch.contiguous_format)  # pyright: ignore
        return model


@torch.inference_mode()
def public_way(model: FaceReconModel, photos: PhotoFolder, root: Path) -> None:
    """Load, compute and write one photo after the other on one thread."""
    results = root / "public"
    results.mkdir(exist_ok=True)
    standard = model.face_model.alignment_points.numpy()
    with one_thread():
        for path, stem in zip(photos.paths, photos.stems, strict=True):
            with Image.open(path) as opened:
                image = np.asarray(opened.convert("RGB"))
            points = np.loadtxt(path.parent / "detections" / f"{stem}.txt")
            face = align_face(image, points, standard)
            aligned = PhotoFace(path, 1, stem, face, np.zeros((68, 2)))
            model.set_input(to_batch([aligned], model))
            model.coefficients = model.layout.split(model.net_recon(model.batch.images))
            model.show(model.coefficients)
            assert model.reconstruction is not None
            posed = model.reconstruction.posed
            picture = (model.visuals()[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
            write_the_public_way(
                results,
                FaceResult(
                    path,
                    1,
                    stem,
                    picture,
                    model.camera.to_object(posed.vertices_camera)[0].numpy(),
                    model.face_model.triangles.numpy(),
                    posed.colours[0].numpy(),
                    None,
                    model.coefficients,
                    posed.landmarks_px[0].numpy(),
                    face.alignment,
                    camera=None,  # pyright: ignore - the public way writes none
                    face_model=model.face_model.card,
                ),
            )


def write_the_public_way(folder: Path, face: FaceResult) -> None:
    """Mesh by trimesh, coefficients by SciPy, picture by Pillow's defaults."""
    colours = np.clip(255.0 * face.colours, 0, 255).astype(np.uint8)
    mesh = trimesh.Trimesh(
        vertices=face.vertices, faces=face.triangles, vertex_colors=colours, process=False
    )
    mesh.export(folder / f"{face.stem}.obj")
    arrays = {PUBLIC_KEYS[name]: block.numpy() for name, block in face.coefficients.items()}
    savemat(folder / f"{face.stem}.mat", arrays | {"lm68": face.landmarks_index[None]})
    assert face.picture is not None
    Image.fromarray(face.picture).save(folder / f"{face.stem}.png")


def one_face(command: Command) -> FaceResult:
    """The reconstruction of the first photo."""
    photo = command.photos("given")[0]
    ((face, _),) = reconstruct_faces(command.model, photo.faces, appearance=False)
    return face


def make_photos(folder: Path, count: int) -> None:
    """Portraits with five points each, as users of the public code have them."""
    write_photos(folder, count)
    options = PreparationOptions(img_folder=(str(folder),), num_workers=0)
    prepare_folders(options, list_root=folder.parent, progress=False)
    for name in ("landmarks", "mask"):
        shutil.rmtree(folder / name)


def create_untrained(options: ParsedOptions) -> FaceReconModel:
    """A network with random weights."""
    model = create_model("facerecon", options, load_assets(options), torch.device("cpu"))
    assert isinstance(model, FaceReconModel)
    model.eval()
    return model


def save_untrained(root: Path, net: str, *argv: str) -> None:
    """Write the checkpoint of an untrained network."""
    groups = [BaseOptions, *FaceReconModel.option_groups]
    options = parse_command(groups, ["--net_recon", net, "--w_feat", "0", *argv])
    model = create_untrained(options)
    save_training(checkpoint_path(root / net, "latest"), model, options, Progress())


def write_large_model(path: Path, vertices: int) -> None:
    """The open face model with every edge halved, cut to a number of vertices."""
    data = read_face_model(OPEN_FACE_MODEL)
    halving, finer = halved(data.triangles, len(data.mean_shape))
    if finer.max() + 1 < vertices:
        raise ValueError(f"halving the edges gives {finer.max() + 1} vertices only")
    halving = halving[:vertices]

    def kept(faces: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(faces[(faces < vertices).all(axis=1)], dtype=np.int32)

    def mixed(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1).astype(np.float32)
        return np.asarray(halving @ flat).reshape(vertices, *values.shape[1:])

    in_front = {tuple(sorted(face)) for face in data.front_triangles.tolist()}
    front = np.array([tuple(sorted(face)) in in_front for face in data.triangles.tolist()])
    large = replace(
        data,
        name="large",
        mean_shape=mixed(data.mean_shape),
        identity_basis=mixed(data.identity_basis),
        expression_basis=mixed(data.expression_basis),
        mean_albedo=mixed(data.mean_albedo),
        albedo_basis=mixed(data.albedo_basis),
        skin_mask=mixed(data.skin_mask),
        regions={name: mixed(region) > 0.75 for name, region in data.regions.items()},
        triangles=kept(finer),
        front_triangles=kept(finer[np.repeat(front, 4)]),
        uv=None,
        uv_triangles=None,
        contour=None,
        fingerprint="",
    )
    write_face_model(path, large)


def halved(triangles: np.ndarray, vertices: int) -> tuple[csr_matrix, np.ndarray]:
    """Halve every edge: a matrix old -> new vertices, the old ones first; four triangles each."""
    corners = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges, number = np.unique(np.sort(corners, axis=1), axis=0, return_inverse=True)
    a, b, c = triangles.T
    ab, bc, ca = vertices + number.reshape(-1, 3).T
    finer = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    rows = np.concatenate([np.arange(vertices), np.repeat(np.arange(len(edges)), 2) + vertices])
    columns = np.concatenate([np.arange(vertices), edges.reshape(-1)])
    weights = np.concatenate([np.ones(vertices), np.full(edges.size, 0.5)]).astype(np.float32)
    shape = (vertices + len(edges), vertices)
    return csr_matrix((weights, (rows, columns)), shape=shape), finer


if __name__ == "__main__":
    main()
