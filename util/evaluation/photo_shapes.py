"""Photos of a benchmark, through a method, to meshes: every photo gets one, also without a face.

Where the detector finds no face, the box that some benchmarks give says where it is: the five
points of the mean face are put into it, and the detector's predictor starts from them. Without a
box, or where not even that gives a face, the mean face is the answer, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.detection import LandmarkDetector, overlap
from data.images import list_images, read_image
from data.photo_folder import PhotoFace, photo_face
from models.parameters import Coefficients
from options.face_options import SYNERGY_CROP_PX
from util.errors import InputError
from util.evaluation.aflw2000_methods import mean_face_points
from util.evaluation.kept_results import KeptResults
from util.evaluation.shape_methods import (
    FaceShape,
    FitShape,
    ShapeMethod,
    face_shapes,
    from_arrays,
    stacked,
    to_arrays,
)
from util.photos.photo_fitting import to_fit_batch

FITTED_TOGETHER = 32
"""Most photos of one person that are fitted together, since all are held in memory at once."""
_SAME_FACE = 0.1
"""Least intersection over union of a found box with the given one."""


@dataclass(frozen=True)
class BenchmarkPhoto:
    """One photo whose face is wanted."""

    path: Path
    name: str
    """Of its predictions, relative to their folder, without ending."""
    box: np.ndarray | None = None
    """(4,) left, top, right, bottom of the face, where the benchmark says it."""


def photos_by_stem(place: Path) -> dict[str, Path]:
    """The photos of a folder by their names without ending, by which their predictions go.

    Raises:
        InputError: two have one name.
    """
    photos: dict[str, Path] = {}
    for path in list_images(place):
        if (other := photos.setdefault(path.stem, path)) != path:
            raise InputError(
                f"{place} holds {other.name} and {path.name}, whose predictions would have one "
                "name; leave one of them there"
            )
    return photos


def photos_named(place: Path, names: Sequence[str]) -> dict[str, list[BenchmarkPhoto]]:
    """The photos of a folder that show some meshes, one each, by their common names.

    Raises:
        InputError: a mesh has none.
    """
    photos = photos_by_stem(place)
    if missing := [name for name in names if name not in photos]:
        raise InputError(
            f"{place} lacks the photos of {len(missing)} of {len(names)} meshes, such as "
            f"{missing[0]}.jpg"
        )
    return {name: [BenchmarkPhoto(photos[name], name)] for name in names}


@dataclass(frozen=True)
class PhotoShape:
    """What a method says about a photo."""

    photo: BenchmarkPhoto
    shape: FaceShape
    coefficients: Coefficients
    """A batch of one."""
    face: PhotoFace | None
    """Where it was found; None where the mean face stands in."""


class PhotoShapes:
    """Runs one method over photos."""

    def __init__(
        self,
        method: ShapeMethod,
        detector: LandmarkDetector,
        at_once: int,
        *,
        neutral: bool,
        kept: KeptResults | None = None,
    ) -> None:
        """Say how.

        Args:
            method: that reconstructs.
            detector: that finds faces.
            at_once: photos that are reconstructed at once.
            neutral: without expression.
            kept: keeps what the method says of each photo or person, and knows what it said before
                the evaluation was stopped.
        """
        self._method, self._detector, self._kept = method, detector, kept
        # The fitter takes one after the other anyway: then no more than one is ever lost.
        self._at_once = 1 if isinstance(method, FitShape) else at_once
        self._neutral = neutral
        self._standard = method.face_model.alignment_points.cpu().numpy()
        self._five = mean_face_points(method.face_model, method.camera)
        self._seen = 0
        self.missed: list[Path] = []
        """Photos without a face: the mean face stands in, or the others say who it is."""

    @property
    def method(self) -> ShapeMethod:
        """That reconstructs."""
        return self._method

    def __call__(self, photos: Sequence[BenchmarkPhoto]) -> Iterator[PhotoShape]:
        """Reconstruct photos, in their order."""
        with tqdm(total=len(photos), unit="photo") as bar:
            for some in _parts(photos, self._at_once):
                yield from self._reconstruct(some)
                bar.update(len(some))

    def print_missed(self, instead: str = "the mean face stands in") -> None:
        """Say in how many of the photos no face was found, if in any, and what became of them."""
        if self.missed:
            print(
                f"No face found in {len(self.missed)} of {self._seen} photos, such as "
                f"{self.missed[0]}: {instead}"
            )

    def person(self, photos: Sequence[BenchmarkPhoto]) -> FaceShape:
        """One face of several photos of one person; photos without a face are left out.

        The fitter takes `FITTED_TOGETHER` of them, evenly spaced; of what others say of each, some
        photos at a time, the mean identity counts.

        Raises:
            InputError: no photo shows a face.
        """
        together = isinstance(self._method, FitShape)
        if together and len(photos) > FITTED_TOGETHER:
            chosen = np.linspace(0, len(photos) - 1, FITTED_TOGETHER).round().astype(int)
            photos = [photos[number] for number in chosen]
        key = ("person", str(photos[0].path.parent))
        arrays = self._kept.find(*key) if self._kept else None
        if arrays is None:
            one, missed = self._one_of_all(photos, together=together)
            if self._kept:
                self._kept.keep(to_arrays(one) | {"missed": missed}, *key)
        else:
            one, missed = from_arrays(arrays, _device(self._method)), arrays["missed"]
            self._seen += len(photos)
        self.missed += [photo.path for photo, lacks in zip(photos, missed, strict=True) if lacks]
        if missed.all():
            raise InputError(f"no face found in any photo beside {photos[0].path}")
        return face_shapes(self._method.face_model, one, neutral=self._neutral)[0]

    def _one_of_all(
        self, photos: Sequence[BenchmarkPhoto], *, together: bool
    ) -> tuple[Coefficients, np.ndarray]:
        """One face (a batch of one) of photos, and in which of them there is none."""
        said: list[Coefficients] = []
        missed: list[bool] = []
        for some in _parts(photos, FITTED_TOGETHER if together else self._at_once):
            faces = [self._find(photo) for photo in some]
            found = [face for face in faces if face is not None]
            missed += [face is None for face in faces]
            if found:
                one_person = together and len(found) > 1
                said.append(self._method(to_fit_batch(found), one_person=one_person))
        if not said:
            return self._method.face_model.layout.zeros(1), np.array(missed)
        every = stacked(said)
        one = replace(every.item(0), identity=every.identity.mean(dim=0, keepdim=True))
        return one, np.array(missed)

    def _reconstruct(self, photos: Sequence[BenchmarkPhoto]) -> Iterator[PhotoShape]:
        model = self._method.face_model
        faces = [self._find(photo) for photo in photos]
        said = self._said(photos, faces)
        none = model.layout.zeros(1, _device(self._method))
        for photo, face, one in zip(photos, faces, said, strict=True):
            if face is None:
                self.missed.append(photo.path)
            one = none if one is None else one
            shape = face_shapes(model, one, neutral=self._neutral)[0]
            if not np.isfinite(shape.vertices).all():
                raise InputError(
                    f"the model's mesh of {photo.path} is not finite; take another --epoch"
                )
            yield PhotoShape(photo, shape, one, face)

    def _said(
        self, photos: Sequence[BenchmarkPhoto], faces: Sequence[PhotoFace | None]
    ) -> list[Coefficients | None]:
        """What the method says of each face, now or before it was stopped; None without a face."""
        said: list[Coefficients | None] = [None] * len(photos)
        new = []
        for row, (photo, face) in enumerate(zip(photos, faces, strict=True)):
            if face is None:
                continue
            arrays = self._kept.find("photo", photo.name) if self._kept else None
            if arrays is None:
                new.append((row, photo, face))
            else:
                said[row] = from_arrays(arrays, _device(self._method))
        if new:
            coefficients = self._method(to_fit_batch([face for *_, face in new]))
            for place, (row, photo, _) in enumerate(new):
                said[row] = one = coefficients.item(place)
                if self._kept:
                    self._kept.keep(to_arrays(one), "photo", photo.name)
        return said

    def _find(self, photo: BenchmarkPhoto) -> PhotoFace | None:
        self._seen += 1
        image = read_image(photo.path)
        landmarks = self._landmarks(image, photo.box)
        if landmarks is None:
            return None
        try:
            return photo_face(photo.path, image, landmarks, self._standard)
        except InputError:
            return None

    def _landmarks(self, image: np.ndarray, box: np.ndarray | None) -> np.ndarray | None:
        faces = self._detector.detect(image, largest_only=box is None)
        if box is None:
            return faces[0].landmarks_px if faces else None
        overlaps = [overlap(np.array(face.box), box) for face in faces]
        if overlaps and max(overlaps) >= _SAME_FACE:
            return faces[int(np.argmax(overlaps))].landmarks_px
        side = float((box[2:] - box[:2]).max())
        centred = (self._five + 0.5 - SYNERGY_CROP_PX / 2) * (np.sqrt(2) / SYNERGY_CROP_PX)
        five = (box[:2] + box[2:]) / 2 + side * centred - 0.5
        return self._detector.landmarks_from_five(image, five)


def _device(method: ShapeMethod) -> torch.device:
    return method.face_model.mean_shape.device


def _parts(photos: Iterable[BenchmarkPhoto], size: int) -> Iterator[list[BenchmarkPhoto]]:
    left = iter(photos)
    while part := list(islice(left, size)):
        yield part
