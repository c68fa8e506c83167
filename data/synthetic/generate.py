"""Make a folder of synthetic faces, in the layout of prepared photos, with their coefficients.

    <folder>/000000.jpg                the crop, 224 x 224
    <folder>/landmarks/000000.txt      68 points, detections/ five
    <folder>/mask/000000.png           where the face's skin is seen
    <folder>/coefficients.npz          coefficients and exact landmarks of all
    datalist/<name of the folder>/{images,landmarks,masks}.txt

Samples are made in chunks, each finished by a file of its own under `<folder>/unfinished/`, so
that an interrupted run goes on where it stopped. Sample i depends on the seed and i alone.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from data.landmarks import five_from_68, write_landmarks
from data.prepared_files import ListWriter, PhotoFiles
from data.synthetic.coefficients import VALIDATION_COUNT, SyntheticTruth, read_truth, write_truth
from data.synthetic.compositing import compose
from data.synthetic.lighting import brighten
from data.synthetic.rendering import SceneRenderer
from data.synthetic.sampling import PICTURE, FaceSampler, generator
from data.worker_pool import WorkerDied, map_in_processes
from models.camera import Camera
from models.face_model import FaceModel
from util.atomic import write_bytes
from util.cores import usable_cores
from util.devices import one_thread
from util.errors import InputError

GENERATOR_VERSION = 1
"""Grows whenever the same seed and index give another picture."""
CHUNK = 50
BATCH = 10
"""Faces rendered at once; small enough that the memory of their fragments is reused."""
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class SynthesisOptions:
    """Faces rendered from the face model, with their true coefficients."""

    count: int = 12000
    """Number of faces."""
    val_count: int = VALIDATION_COUNT
    """Further faces for validation, in a second folder <output>_val with the next seed."""
    output: str = "datasets/synthetic"
    """Folder of the faces; their lists go to datalist/<name of the folder>/."""
    seed: int = 0
    """Random seed; a face depends on it and on its number."""
    num_workers: int | None = None
    """Processes; none takes one for each core, 0 works without any others."""
    overwrite: bool = False
    """Make everything anew, also what is finished or was made with other settings."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        if self.count < 1:
            raise InputError(f"--count is {self.count}; it must be at least 1")
        for flag in ("val_count", "seed"):
            if getattr(self, flag) < 0:
                raise InputError(f"--{flag} is {getattr(self, flag)}; it must be 0 or more")
        if self.num_workers is not None and self.num_workers < 0:
            raise InputError(f"--num_workers is {self.num_workers}; it must be 0 or more")
        if Path(self.output).name in ("", ".."):
            raise InputError(f"--output is {self.output!r}; give a folder by its name")
        if Path(self.output).name in ("train", "val"):
            raise InputError(
                f"--output is {self.output!r}; its list would replace the one that "
                "data_preparation.py writes for photos, give the folder another name"
            )

    @property
    def list_name(self) -> str:
        """Folder of the lists: one for each set of faces, apart from those of photos."""
        return Path(self.output).name

    def validation(self) -> SynthesisOptions:
        """The same for the validation folder."""
        folder = Path(self.output)
        return replace(
            self,
            count=self.val_count,
            val_count=0,
            output=str(folder.with_name(f"{folder.name}_val")),
            seed=self.seed + 1,
        )


def generate(
    options: SynthesisOptions,
    face_model: FaceModel,
    *,
    list_root: Path = Path("datalist"),
    progress: bool = True,
) -> int:
    """Make the faces that are missing, then the lists and coefficients of all.

    Args:
        options: what to make, and where.
        face_model: which faces; its own fingerprint goes into the coefficient file.
        list_root: the lists go to list_root/<name of the folder>/.
        progress: show a progress bar.

    Returns:
        How many faces were made; the others were there.

    Raises:
        InputError: the folder holds faces of another seed, model or version.
        RuntimeError: a worker process died.
    """
    folder = Path(options.output)
    chunk = RenderChunk(face_model, folder, options.seed, options.count, CHUNK)
    if options.overwrite:
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        (folder / "coefficients.npz").unlink(missing_ok=True)
    starts = range(0, options.count, chunk.size)
    finished = _finished_chunks(folder, chunk)
    missing = [start for start in starts if start not in finished]
    workers = usable_cores() if options.num_workers is None else options.num_workers
    made = 0
    with tqdm(total=options.count, unit="face", disable=not progress) as bar:
        bar.update(options.count - sum(len(chunk.indices(start)) for start in missing))
        for start, result in map_in_processes(chunk, missing, min(workers, len(missing))):
            if isinstance(result, WorkerDied):
                raise RuntimeError(f"faces {start} and following: {result}; run it again")
            finished[start] = result
            made += len(result.names)
            bar.update(len(result.names))
    write_truth(folder / "coefficients.npz", SyntheticTruth.join([finished[s] for s in starts]))
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    with ListWriter(list_root / options.list_name) as lists:
        for number in range(options.count):
            lists.add(PhotoFiles(folder / name(number), Path(name(number)).stem).listed)
    return made


def name(index: int) -> str:
    """File name of a sample."""
    return f"{index:06d}.jpg"


@dataclass(frozen=True)
class RenderChunk:
    """Makes and writes the samples of one chunk; sent to worker processes."""

    face_model: FaceModel
    folder: Path
    seed: int
    count: int
    size: int = CHUNK
    """Samples of a whole chunk."""

    @cached_property
    def _tools(self) -> tuple[FaceSampler, SceneRenderer]:
        camera = Camera.rnet()
        return FaceSampler(self.face_model, camera), SceneRenderer(self.face_model, camera)

    def indices(self, start: int) -> range:
        """Samples of the chunk that begins at `start`."""
        return range(start, min(start + self.size, self.count))

    def describe(
        self, indices: Sequence[int], coefficients: np.ndarray, landmarks: np.ndarray
    ) -> SyntheticTruth:
        """Truth of some samples with all that gives it its meaning."""
        return SyntheticTruth(
            names=tuple(name(i) for i in indices),
            coefficients=coefficients,
            landmarks_px=landmarks,
            face_model=str(self.face_model.card),
            fingerprint=self.face_model.card.fingerprint,
            seed=self.seed,
            generator_version=GENERATOR_VERSION,
        )

    def __call__(self, start: int) -> SyntheticTruth:
        """Render, write and describe one chunk."""
        coefficients, landmarks = [], []
        # As the worker processes do.
        with one_thread():
            for first in range(start, self.indices(start).stop, BATCH):
                # Whole batches always, since sums may round differently in smaller ones.
                truth = self._batch(range(first, first + BATCH))
                coefficients.append(truth[0])
                landmarks.append(truth[1])
        wanted = self.indices(start)
        truth = self.describe(
            wanted,
            np.concatenate(coefficients)[: len(wanted)],
            np.concatenate(landmarks)[: len(wanted)],
        )
        write_truth(self.folder / UNFINISHED / f"{start:06d}.npz", truth)
        return truth

    def _batch(self, indices: range) -> tuple[np.ndarray, np.ndarray]:
        """Write a batch; returns coefficients (B, P) and landmarks (B, 68, 2)."""
        sampler, renderer = self._tools
        coefficients = sampler.sample(self.seed, indices)
        faces = renderer.render(torch.from_numpy(coefficients), self.seed, indices)
        light = self.face_model.layout.slices["gamma"]
        for item, index in enumerate(indices):
            if index >= self.count:
                break
            photograph = compose(
                generator(self.seed, index, PICTURE),
                faces.colour[item],
                faces.coverage[item],
                faces.skin[item],
                faces.landmarks_px[item],
                faces.skin_colour[item],
            )
            coefficients[item, light] = brighten(coefficients[item, light], photograph.gain)
            files = PhotoFiles(self.folder / name(index), Path(name(index)).stem)
            points = faces.landmarks_px[item].astype(np.float64) - 0.5
            write_bytes(files.image, photograph.jpeg)
            write_landmarks(files.landmarks, points)
            write_landmarks(files.detection, five_from_68(points))
            write_bytes(files.mask, _png(photograph.skin_mask))
        return coefficients, faces.landmarks_px


def _finished_chunks(folder: Path, chunk: RenderChunk) -> dict[int, SyntheticTruth]:
    """Truth of the chunks whose pictures are all there, by their first sample.

    Raises:
        InputError: they were made with other settings.
    """
    present = {path.name for path in folder.glob("*.jpg")}
    found = {}
    files = [folder / "coefficients.npz", *sorted((folder / UNFINISHED).glob("*.npz"))]
    for file in files:
        if not file.is_file():
            continue
        truth = read_truth(file)
        for problem, theirs, ours in (
            ("the face model", truth.fingerprint, chunk.face_model.card.fingerprint),
            ("--seed", truth.seed, chunk.seed),
            ("the generator's version", truth.generator_version, GENERATOR_VERSION),
        ):
            if theirs != ours:
                raise InputError(
                    f"--output {folder} holds faces for which {problem} was {theirs}, now it is "
                    f"{ours}; give another folder, or --overwrite to replace them"
                )
        position = {image: k for k, image in enumerate(truth.names)}
        for start in range(0, chunk.count, chunk.size):
            names = [name(i) for i in chunk.indices(start)]
            if all(n in position and n in present for n in names):
                found[start] = truth.part([position[n] for n in names])
    return found


def _png(mask: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    # Little compression: large even areas shrink well anyway, and it takes a third of the time.
    Image.fromarray(mask).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()
