"""Make a folder of synthetic faces, in the layout of prepared photos, with their coefficients.

    <folder>/000000.jpg                the picture
    <folder>/landmarks/000000.txt      68 points, detections/ five
    <folder>/mask/000000.png           where the face's skin is seen
    <folder>/coefficients.npz          coefficients, exact landmarks, cameras, poses of all
    <folder>/{parts,depth,normals}/    of each pixel, where --maps asks for them
    datalist/<name of the folder>/{images,landmarks,masks}.txt

Samples are made in chunks, each finished by a file of its own under `<folder>/unfinished/`, so
that an interrupted run goes on where it stopped, and so that several can share the work. A million
faces leave a hundred thousand small ones until they are put together, which takes minutes: little
beside making them. Sample i depends on the seed and i alone.
"""

from __future__ import annotations

import shutil
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.landmarks import five_from_68, write_landmarks
from data.prepared_files import ListWriter, PhotoFiles
from data.sharding import Shard
from data.synthetic.backgrounds import PictureFolder
from data.synthetic.cameras import extrinsics, intrinsics
from data.synthetic.coefficients import SyntheticTruth, read_truth, write_truth
from data.synthetic.maps import MapChoice, encode_png, write_surface
from data.synthetic.photographer import Photographer, SyntheticFace
from data.worker_pool import WorkerDied, map_in_processes
from models.face_model import FaceModel
from options.synthesis_options import SynthesisOptions
from util.atomic import write_bytes
from util.cores import usable_cores
from util.errors import InputError

GENERATOR_VERSION = 3
"""Grows whenever the same seed and index give another picture."""
BATCH = 10
"""Faces rendered at once; small enough that the memory of their fragments is reused."""
CHUNK = BATCH
"""Faces that a process makes, and finishes by a file, at a time. Parts (--shard) are whole ones, so
that few of them leave some of a small set for each part."""
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Made:
    """What a run did."""

    wanted: int
    """Faces that it was to see to: all, or those of its part."""
    made: int
    """The others were there."""
    bad_pictures: tuple[str, ...] = ()
    """A sentence for each background that cannot be used."""


def generate(
    options: SynthesisOptions,
    face_model: FaceModel,
    *,
    list_root: Path = Path("datalist"),
    progress: bool = True,
) -> Made:
    """Make the faces that are missing, then, unless it is a part, the lists and truth of all.

    Args:
        options: what to make, and where.
        face_model: which faces; its own fingerprint goes into the coefficient file.
        list_root: the lists go to list_root/<name of the folder>/.
        progress: show a progress bar.

    Raises:
        InputError: the folder holds faces of another seed, model, version or other settings; a
            merger lacks some.
        RuntimeError: a worker process died.
    """
    pictures = open_backgrounds(options)
    photographer = Photographer(
        face_model, options.camera, options.size, options.looks, pictures, options.maps != "none"
    )
    folder = Path(options.out)
    chunk = RenderChunk(
        photographer,
        folder,
        options.seed,
        options.n,
        settings_of(options, pictures),
        options.maps,
        CHUNK,
    )
    made, truth = make_faces(options, chunk, progress=progress)
    if truth is not None:
        with ListWriter(list_root / options.list_name) as lists:
            for number in range(options.n):
                lists.add(PhotoFiles(folder / name(number), Path(name(number)).stem).listed)
    return made


def open_backgrounds(options: SynthesisOptions) -> PictureFolder | None:
    """The user's pictures, where there are some."""
    return PictureFolder.open(Path(options.backgrounds)) if options.backgrounds else None


def make_faces(
    options: SynthesisOptions, chunk: RenderChunk, *, progress: bool = True
) -> tuple[Made, SyntheticTruth | None]:
    """Make the faces that are missing and, unless it is a part, write the truth of all.

    Args:
        options: what to make.
        chunk: makes and writes a part of them.
        progress: show a progress bar.

    Returns:
        What was done; and the truth, None for a part.

    Raises:
        InputError, RuntimeError: as `generate`.
    """
    folder = chunk.folder
    shard = Shard.parse(options.shard) if options.shard else Shard()
    starts = [s for s in range(0, options.n, chunk.size) if shard.holds(s // chunk.size)]
    if options.overwrite and not options.merge:
        # Other parts may be at work: theirs stay.
        (folder / "coefficients.npz").unlink(missing_ok=True)
        for path in (folder / UNFINISHED).glob("*.npz"):
            if shard.holds(int(path.stem) // chunk.size):
                path.unlink(missing_ok=True)
        finished = {}
    else:
        # Others' parts may be of other settings, soon to be made anew; who merges compares all.
        own = starts if options.shard or options.merge else None
        remedy = "give another folder, or --overwrite to replace them"
        if options.merge:
            remedy = "make the parts with one set of flags, those of other faces with --overwrite"
        finished = _finished_chunks(folder, chunk, own, remedy)
    missing = [start for start in starts if start not in finished]
    if options.merge and missing:
        raise InputError(
            f"--merge: {len(missing)} of {len(starts)} chunks of {folder} are not made, such as "
            f"faces {missing[0]} to {chunk.indices(missing[0])[-1]}; run the parts (--shard) that "
            "are not finished again, with the same flags"
        )
    wanted = sum(len(chunk.indices(start)) for start in starts)
    workers = usable_cores() if options.num_workers is None else options.num_workers
    made, bad = 0, {}
    with tqdm(total=wanted, unit="face", disable=not (progress and wanted)) as bar:
        bar.update(wanted - sum(len(chunk.indices(start)) for start in missing))
        for start, result in map_in_processes(chunk, missing, min(workers, len(missing))):
            if isinstance(result, WorkerDied):
                raise RuntimeError(f"faces {start} and following: {result}; run it again")
            finished[start] = result.truth
            bad |= result.bad_pictures
            made += len(result.truth.names)
            bar.update(len(result.truth.names))
    truth = None
    if not options.shard:
        truth = SyntheticTruth.join([finished[start] for start in starts])
        write_truth(folder / "coefficients.npz", truth)
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return Made(wanted, made, tuple(bad[path] for path in sorted(bad))), truth


def settings_of(options: SynthesisOptions, pictures: PictureFolder | None) -> str:
    """What the pictures depend on beside seed, number and face model."""
    backgrounds = f"of {len(pictures.paths)} pictures ({pictures.digest})" if pictures else "none"
    return (
        f"--camera {options.camera} --size {options.size} --looks {options.looks} "
        f"--maps {options.maps} --backgrounds {backgrounds}"
    )


def name(index: int) -> str:
    """File name of a sample."""
    return f"{index:06d}.jpg"


@dataclass(frozen=True)
class MadeChunk:
    """What a process sends back."""

    truth: SyntheticTruth
    bad_pictures: dict[str, str]
    """Problem of each background that cannot be used, by its path."""


@dataclass(frozen=True)
class RenderChunk:
    """Makes and writes the samples of one chunk; sent to worker processes."""

    photographer: Photographer
    folder: Path
    seed: int
    count: int
    settings: str = ""
    maps: MapChoice = "none"
    size: int = CHUNK
    """Samples of a whole chunk."""
    only_images: bool = False
    """Leave out landmarks and masks, which other layouts have no place for."""

    def indices(self, start: int) -> range:
        """Samples of the chunk that begins at `start`."""
        return range(start, min(start + self.size, self.count))

    def describe(self, indices: Sequence[int], faces: Sequence[SyntheticFace]) -> SyntheticTruth:
        """Truth of some samples with all that gives it its meaning."""
        card, slices = self.photographer.face_model.card, self.photographer.face_model.layout.slices
        coefficients = np.stack([face.coefficients for face in faces])
        rotation, translation = extrinsics(
            coefficients[:, slices["angles_rad"]],
            coefficients[:, slices["translation_dm"]],
            faces[0].camera.distance_dm,
        )
        return SyntheticTruth(
            names=tuple(name(i) for i in indices),
            coefficients=coefficients,
            landmarks_px=np.stack([face.landmarks_px for face in faces]),
            visible=np.stack([face.visible for face in faces]),
            intrinsics=np.stack([intrinsics(face.camera) for face in faces]),
            rotation=rotation,
            translation_dm=translation,
            size_px=np.array([(face.camera.width, face.camera.height) for face in faces]),
            face_model=str(card),
            fingerprint=card.fingerprint,
            seed=self.seed,
            settings=self.settings,
            generator_version=GENERATOR_VERSION,
        )

    def __call__(self, start: int) -> MadeChunk:
        """Render, write and describe one chunk."""
        wanted = self.indices(start)
        faces = []
        for first in range(start, wanted.stop, BATCH):
            # Whole batches always, since sums may round differently in smaller ones.
            batch = range(first, first + BATCH)
            taken = self.photographer.take(self.seed, batch)
            for index, face in zip(batch, taken, strict=True):
                if index in wanted:
                    self._write(index, face)
                    faces.append(_small(face))
        truth = self.describe(wanted, faces)
        write_truth(self.folder / UNFINISHED / f"{start:06d}.npz", truth)
        pictures = self.photographer.pictures
        return MadeChunk(truth, dict(pictures.bad) if pictures else {})

    def _write(self, index: int, face: SyntheticFace) -> None:
        """All files of one sample."""
        files = PhotoFiles(self.folder / name(index), Path(name(index)).stem)
        points = face.landmarks_px.astype(np.float64) - 0.5
        write_bytes(files.image, face.photograph.jpeg)
        if self.only_images:
            return
        write_landmarks(files.landmarks, points)
        write_landmarks(files.detection, five_from_68(points))
        write_bytes(files.mask, encode_png(face.photograph.skin_mask))
        if face.surface is not None:
            write_surface(self.folder, files.stem, face.surface, self.maps)


def _small(face: SyntheticFace) -> SyntheticFace:
    """Without maps, of which a chunk would fill the memory."""
    return replace(face, surface=None)


def _finished_chunks(
    folder: Path, chunk: RenderChunk, starts: Sequence[int] | None, remedy: str
) -> dict[int, SyntheticTruth]:
    """Truth of the chunks whose pictures are all there, by their first sample.

    Args:
        folder: of the faces.
        chunk: what makes them.
        starts: ascending; look for these chunks alone; None looks for all.
        remedy: for faces that were made with other settings.

    Raises:
        InputError: they were made with other settings.
    """
    present = {path.name for path in folder.glob("*.jpg")}
    found = {}
    files = sorted((folder / UNFINISHED).glob("*.npz"), key=lambda file: int(file.stem))
    own = {file.stem for file in files}
    if starts is not None:
        own = {Path(name(start)).stem for start in starts}
        files = _files_with(files, starts)
    wanted = range(0, chunk.count, chunk.size) if starts is None else starts
    # So that of thousands of chunks only those are looked at that a file has the first face of.
    starts_by_name = {name(start): start for start in wanted}
    whole = folder / "coefficients.npz"
    for file in (whole, *files):
        if not file.is_file():
            continue
        truth = read_truth(file)
        if difference := _difference(truth, chunk):
            if file != whole and file.stem not in own:
                continue
            raise InputError(f"--out {folder} holds faces for which {difference}; {remedy}")
        position = {image: k for k, image in enumerate(truth.names)}
        for start in (starts_by_name[image] for image in truth.names if image in starts_by_name):
            names = [name(i) for i in chunk.indices(start)]
            if all(n in position and n in present for n in names):
                found[start] = truth.part([position[n] for n in names])
    return found


def _files_with(files: Sequence[Path], starts: Sequence[int]) -> list[Path]:
    """Those files that can hold a chunk.

    A file is named after its first face and may hold larger chunks, as earlier versions made them,
    so that only the next file says where its faces end.

    Args:
        files: of chunks, in the order of their numbers.
        starts: the first samples of the chunks, ascending.
    """
    edges = [bisect_left(starts, int(file.stem)) for file in files] + [len(starts)]
    return [file for k, file in enumerate(files) if edges[k] < edges[k + 1]]


def _difference(truth: SyntheticTruth, chunk: RenderChunk) -> str:
    """A clause of what finished faces were made with and a chunk would not be; empty for none."""
    card = chunk.photographer.face_model.card
    for problem, theirs, ours in (
        ("the face model", truth.fingerprint, card.fingerprint),
        ("--seed", truth.seed, chunk.seed),
        ("what they depend on", truth.settings, chunk.settings),
        ("the generator's version", truth.generator_version, GENERATOR_VERSION),
    ):
        if theirs != ours:
            return f"{problem} was {theirs}, now it is {ours}"
    return ""
