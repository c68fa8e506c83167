"""Photos as users have them: a folder or a file, with or without detections beside the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.alignment import AlignedFace, align_face
from data.detection import LandmarkDetector
from data.images import (
    common_folder,
    image_names,
    list_images,
    read_image,
    reduce_image,
    stems,
)
from data.photo_landmarks import choose_landmarks, read_checked
from data.skin_mask import skin_mask
from util.errors import InputError


@dataclass(frozen=True)
class PhotoFace:
    """One face of a photo, aligned."""

    path: Path
    """Of the photo."""
    number: int
    """1 for the largest face of the photo, then by falling size."""
    stem: str
    """Name of its results, unique in the folder."""
    face: AlignedFace
    landmarks: np.ndarray
    """(68, 2) detected or given landmarks: pixel indices of the crop, moved exactly as its
    content."""
    skin: np.ndarray | None = None
    """(224, 224) uint8 skin probability of the crop; None unless asked for."""


def photo_face(
    path: Path,
    image: np.ndarray,
    landmarks: np.ndarray,
    standard_points: np.ndarray,
    *,
    points: np.ndarray | None = None,
    number: int = 1,
    stem: str = "",
    with_skin: bool = True,
) -> PhotoFace:
    """Align a face of a photo.

    Args:
        path: of the photo.
        image: (H, W, 3) uint8.
        landmarks: (68, 2) pixel indices of the photo.
        standard_points: (5, 3) alignment points of the face model.
        points: (5 | 68, 2) to align by; None takes the landmarks.
        number: of the face in its photo.
        stem: name of its results; empty takes the photo's.
        with_skin: compute the skin mask of the crop.

    Raises:
        InputError: the points cannot be aligned.
    """
    face = align_face(image, landmarks if points is None else points, standard_points)
    return PhotoFace(
        path,
        number,
        stem or path.stem,
        face,
        face.alignment.crop_landmarks(landmarks, exact=True),
        skin_mask(face.image) if with_skin else None,
    )


@dataclass(frozen=True)
class FailedFace:
    """A photo without a face, or a face that cannot be aligned."""

    path: Path
    """Of the photo."""
    problem: str
    """What is wrong, and the remedy."""
    number: int | None = None
    """Of the face; None if it is the whole photo."""


@dataclass(frozen=True)
class Photo:
    """What a photo holds."""

    path: Path
    stem: str
    """Name of its first face's results, unique in the folder."""
    faces: tuple[PhotoFace, ...] = ()
    failures: tuple[FailedFace, ...] = ()
    preview: np.ndarray | None = None
    """(H, W, 3) uint8 the whole photo, reduced if it is large; None unless asked for."""


class PhotoFolder:
    """Loads and aligns the photos of a folder, or some of them."""

    def __init__(
        self,
        path: Path | Sequence[Path],
        standard_points: np.ndarray,
        detector: LandmarkDetector,
        *,
        all_faces: bool = False,
        with_skin: bool = False,
        preview_px: int = 0,
        landmarks: Path | None = None,
    ) -> None:
        """List the photos; nothing is read yet.

        Args:
            path: folder, image file or several of one folder; `detections/<stem>.txt` and
                `landmarks/<stem>.txt` beside the images are used where they exist, and name the
                one face that is meant.
            standard_points: (5, 3) alignment points of the face model.
            detector: finds faces and landmarks where no file gives them.
            all_faces: take every face that is found, not only the largest.
            with_skin: compute skin masks of the crops.
            preview_px: keep the photos, their longer side reduced to so many pixels; 0 keeps none.
            landmarks: file of the points of the only photo, in place of those beside it.

        Raises:
            InputError: nothing there, no images in it, or several photos and one file of points.
        """
        if isinstance(path, Path):
            self.root = path if path.is_dir() else path.parent
            self.paths = list_images(path)
        else:
            self.root = common_folder(path)
            self.paths = sorted({photo for file in path for photo in list_images(file)})
        self.name = self.root.resolve().name
        # Files keep the stems that they have among their neighbours.
        neighbours = sorted({*(self.root / name for name in image_names(self.root)), *self.paths})
        names = dict(zip(neighbours, stems(neighbours), strict=True))
        self.stems = [names[p] for p in self.paths]
        self._taken = {stem.casefold() for stem in names.values()}
        self._standard_points = standard_points
        self._detector = detector
        self._all_faces = all_faces
        self._with_skin = with_skin
        self._preview_px = preview_px
        self.landmarks = landmarks  # of the only photo
        if landmarks is not None and len(self.paths) > 1:
            raise InputError(
                f"{landmarks} holds the points of one face, but there are {len(self.paths)} photos "
                f"of {self.root}; put a file for each into {self.root / 'landmarks'}"
            )
        if landmarks is not None and not landmarks.is_file():
            raise InputError(f"the landmark file {landmarks} does not exist")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Photo:
        """Load one photo; a bad one comes back with its problem."""
        path, stem = self.paths[index], self.stems[index]
        try:
            return self._load(path, stem, read_image(path))
        except InputError as error:
            return Photo(path, stem, failures=(FailedFace(path, str(error)),))

    def ahead(self, workers: int = 2, depth: int = 16) -> Iterator[Photo]:
        """All photos in order, loaded by threads while earlier ones are used."""
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[Photo]] = deque()
            for index in range(len(self)):
                waiting.append(pool.submit(self.__getitem__, index))
                if len(waiting) >= depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def face_stem(self, stem: str, number: int) -> str:
        """Name of a face's results: `a`, `a_2`, `a_3`; never that of another photo."""
        if number == 1:
            return stem
        name = f"{stem}_{number}"
        while name.casefold() in self._taken:
            name += "_"
        return name

    def has_points(self, stem: str) -> bool:
        """Whether a file says which face of a photo is meant."""
        if self.landmarks is not None:
            return True
        folders = (self.root / name for name in ("detections", "landmarks"))
        return any((folder / f"{stem}.txt").is_file() for folder in folders)

    def _load(self, path: Path, stem: str, image: np.ndarray) -> Photo:
        faces, failures = [], []
        for number, (points, landmarks) in enumerate(self._find_all(image, stem), start=1):
            try:
                face = photo_face(
                    path,
                    image,
                    landmarks,
                    self._standard_points,
                    points=points,
                    number=number,
                    stem=self.face_stem(stem, number),
                    with_skin=self._with_skin,
                )
            except InputError as error:
                failures.append(FailedFace(path, str(error), number))
                continue
            faces.append(face)
        preview = reduce_image(image, self._preview_px) if self._preview_px and faces else None
        return Photo(path, stem, tuple(faces), tuple(failures), preview)

    def _find_all(self, image: np.ndarray, stem: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points to align by, and 68 landmarks, of the faces that are wanted."""
        if self._all_faces and not self.has_points(stem):
            found = [face.landmarks_px for face in self._detector.detect(image)]
            if found:
                return [(points, points) for points in found]
        # Where nothing was found, the search for the largest face tries once more, and explains.
        return [self._find(image, stem)]

    def _find(self, image: np.ndarray, stem: str) -> tuple[np.ndarray, np.ndarray]:
        """The points to align by, and 68 landmarks, from files first."""
        given = read_checked(self.root / "detections" / f"{stem}.txt", image.shape)
        beside = self.root / "landmarks" / f"{stem}.txt"
        landmarks = read_checked(self.landmarks or beside, image.shape, any_way_up=True)
        if self.landmarks is not None:
            given = None
        if landmarks is not None and len(landmarks) == 5:
            given, landmarks = given if given is not None else landmarks, None
        landmarks = choose_landmarks(image, landmarks, given, self._detector)
        if landmarks is None:
            if turn := turn_that_shows_a_face(image, self._detector):
                raise InputError(
                    f"no face found as the photo is, but one if it is turned by {turn} degrees "
                    "counter-clockwise; turn it"
                )
            raise InputError(
                "no face found; if there is one, give a larger --detection_upsample (2 or 3) where "
                "it is smaller than some 40 pixels, else its five points in "
                f"{self.root / 'detections' / (stem + '.txt')}"
            )
        return (given if given is not None else landmarks), landmarks


def turn_that_shows_a_face(image: np.ndarray, detector: LandmarkDetector) -> int:
    """Degrees counter-clockwise that a photo must be turned by to show a face; 0 for none.

    Only one that the detector is sure of: what is no face as it lies may look like one lying.
    """
    for quarters in (2, 1, 3):
        turned = np.ascontiguousarray(np.rot90(image, quarters))
        if any(face.is_sure for face in detector.detect(turned, largest_only=True)):
            return 90 * quarters
    return 0
