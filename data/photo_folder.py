"""Photos as users have them: a folder or a file, with or without detections beside the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.alignment import AlignedFace, align_face
from data.detection import LandmarkDetector
from data.images import list_images, read_image, stems
from data.landmarks import check_landmarks, read_landmarks, upright_landmarks
from data.skin_mask import skin_mask
from util.errors import InputError


@dataclass(frozen=True)
class Photo:
    """One photo with its face aligned."""

    path: Path
    stem: str
    """Name of its results, unique in the folder."""
    face: AlignedFace
    landmarks: np.ndarray
    """(68, 2) detected or given landmarks: pixel indices of the crop, moved exactly as its
    content."""
    skin: np.ndarray | None = None
    """(224, 224) uint8 skin probability of the crop; None unless asked for."""


@dataclass(frozen=True)
class FailedPhoto:
    """A photo that gave no face."""

    path: Path
    problem: str
    """What is wrong, and the remedy."""


class PhotoFolder:
    """Loads and aligns the photos of a folder, or a single photo."""

    def __init__(
        self,
        path: Path,
        standard_points: np.ndarray,
        detector: LandmarkDetector,
        with_skin: bool = False,
    ) -> None:
        """List the photos; nothing is read yet.

        Args:
            path: folder or image file; `detections/<stem>.txt` and `landmarks/<stem>.txt` beside
                the images are used where they exist.
            standard_points: (5, 3) alignment points of the face model.
            detector: finds faces and landmarks where no file gives them.
            with_skin: compute skin masks of the crops.

        Raises:
            InputError: nothing there, or no images in it.
        """
        self.name = path.resolve().name if path.is_dir() else path.resolve().parent.name
        self.root = path if path.is_dir() else path.parent
        self.paths = list_images(path)
        # A single file keeps the stem that it has among its neighbours.
        neighbours = list_images(self.root)
        names = dict(zip(neighbours, stems(neighbours), strict=True))
        self.stems = [names[p] for p in self.paths]
        self._standard_points = standard_points
        self._detector = detector
        self._with_skin = with_skin

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Photo | FailedPhoto:
        """Load one photo; a bad one comes back with its problem."""
        path, stem = self.paths[index], self.stems[index]
        try:
            return self._load(path, stem)
        except InputError as error:
            return FailedPhoto(path, str(error))

    def ahead(self, workers: int = 2, depth: int = 16) -> Iterator[Photo | FailedPhoto]:
        """All photos in order, loaded by threads while earlier ones are used."""
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[Photo | FailedPhoto]] = deque()
            for index in range(len(self)):
                waiting.append(pool.submit(self.__getitem__, index))
                if len(waiting) >= depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _load(self, path: Path, stem: str) -> Photo:
        image = read_image(path)
        points, landmarks = self._find(image, stem)
        face = align_face(image, points, self._standard_points)
        return Photo(
            path,
            stem,
            face,
            face.alignment.crop_landmarks(landmarks, exact=True),
            skin_mask(face.image) if self._with_skin else None,
        )

    def _find(self, image: np.ndarray, stem: str) -> tuple[np.ndarray, np.ndarray]:
        """The points to align by, and 68 landmarks, from files first."""
        given = self._read(image, "detections", stem)
        landmarks = self._read(image, "landmarks", stem)
        if landmarks is not None and len(landmarks) == 5:
            given, landmarks = given if given is not None else landmarks, None
        if given is None and landmarks is None:
            faces = self._detector.detect(image, largest_only=True)
            if not faces:
                raise InputError(
                    "no face found; give five points in "
                    f"{self.root / 'detections' / (stem + '.txt')} if there is one"
                )
            landmarks = faces[0].landmarks_px
        if landmarks is None:
            landmarks = (
                given
                if given is not None and len(given) == 68
                else self._detector.landmarks_from_five(image, given)  # pyright: ignore
            )
        return (given if given is not None else landmarks), landmarks

    def _read(self, image: np.ndarray, folder: str, stem: str) -> np.ndarray | None:
        path = self.root / folder / f"{stem}.txt"
        if not path.is_file():
            return None
        points = read_landmarks(path)
        if folder == "landmarks":
            points = upright_landmarks(points, image.shape[0])
        check_landmarks(points, image.shape, str(path))
        return points
