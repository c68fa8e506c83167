"""Photos of prepared folders, named by a list of their masks.

Each line of the list names a mask, `<folder>/mask/<stem>.png`; the photo lies in `<folder>` under
any accepted image extension, its 68 landmarks in `<folder>/landmarks/<stem>.txt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.alignment import align_face
from data.augmentation import AugmentationOptions, Warp
from data.base_dataset import FaceDataset, FaceSample
from data.images import is_image_name, read_image, read_mask, stems
from data.landmarks import check_landmarks, read_landmarks, upright_landmarks
from models.assets import ModelAssets
from models.landmarks import LandmarkOptions
from util.errors import InputError


@dataclass(frozen=True)
class FlistOptions:
    """Lists of prepared photos."""

    data_root: str = "./"
    """Folder from which the paths in the lists count."""
    flist: str = "datalist/train/masks.txt"
    """List of the training masks."""
    flist_val: str = "datalist/val/masks.txt"
    """List of the validation masks."""


@dataclass(frozen=True)
class ListedPhoto:
    """One line of a list, with the files that it stands for."""

    image: Path
    landmarks: Path
    mask: Path
    origin: str
    """List and line, for messages."""


class FlistDataset(FaceDataset):
    """Aligned photos with landmarks and skin masks; augmented for training."""

    option_groups = (FlistOptions, AugmentationOptions, LandmarkOptions)

    def __init__(self, options: Any, assets: ModelAssets, is_train: bool) -> None:
        """Read the list and see that all its files are there.

        Raises:
            InputError: no list, an empty one, or a line whose files are not all there.
        """
        super().__init__(options, assets, is_train)
        lists: FlistOptions = options[FlistOptions]
        name = "flist" if is_train else "flist_val"
        self.photos = read_list(Path(getattr(lists, name)), Path(lists.data_root), f"--{name}")
        self._augmentation: AugmentationOptions = options[AugmentationOptions]
        self._augment = is_train and self._augmentation.use_aug
        # Landmarks follow the public rounding only where its weights expect them to.
        self._exact = self.landmark_origin == "centre"
        self._standard_points = assets.face_model.alignment_points.detach().cpu().numpy()

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> FaceSample:
        """Read, align and, for training, augment one photo."""
        photo = self.photos[index]
        try:
            sample = self._load(photo)
        except InputError as error:
            raise InputError(f"{error} ({photo.origin})") from error
        if self._augment:
            sample = Warp.draw(self._augmentation, self.random(index)).apply(sample)
        return sample

    def _load(self, photo: ListedPhoto) -> FaceSample:
        image = read_image(photo.image)
        landmarks = upright_landmarks(read_landmarks(photo.landmarks), image.shape[0])
        if len(landmarks) != 68:
            raise InputError(f"{photo.landmarks} holds {len(landmarks)} points; expected 68")
        check_landmarks(landmarks, image.shape, str(photo.landmarks))
        face = align_face(
            image,
            landmarks,
            self._standard_points,
            read_mask(photo.mask),
            exact_landmarks=self._exact,
        )
        return FaceSample(face.image, str(photo.image), face.landmarks, face.mask)


def read_list(path: Path, data_root: Path, flag: str) -> list[ListedPhoto]:
    """The photos that a list of masks stands for.

    Args:
        path: text file with one path of a mask a line, relative to `data_root` or absolute.
        data_root: where relative paths begin.
        flag: the flag that named the list, for messages.

    Raises:
        InputError: no such list, none in it, a path outside of a folder `mask`, a missing mask,
            landmark file or photo; the message names list, line and file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{flag} {path} cannot be read ({error}); make it with data_preparation.py"
        ) from error
    folders: dict[Path, _PreparedFolder] = {}
    photos = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        origin = f"{path}, line {number}"
        mask = data_root / line.strip()
        if mask.parent.name != "mask":
            raise InputError(f"{origin}: {mask} does not lie in a folder named mask")
        root = mask.parent.parent
        if root not in folders:
            folders[root] = _PreparedFolder(root)
        photos.append(folders[root].find(mask, origin))
    if not photos:
        raise InputError(f"{flag} {path} names no masks; make it with data_preparation.py")
    return photos


class _PreparedFolder:
    """What lies in a prepared folder, listed once: asking for each file takes far longer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        images = [entry for entry in _entries(root) if is_image_name(entry)]
        self._image_of_stem = dict(zip(stems(images), images, strict=True))
        self._images = set(images)
        self._masks = set(_entries(root / "mask"))
        self._landmarks = set(_entries(root / "landmarks"))

    def find(self, mask: Path, origin: str) -> ListedPhoto:
        """The files beside one mask; raises InputError if one is missing."""
        image = self._image_of_stem.get(mask.stem)
        same_name = self.root / mask.name
        if mask.suffix.lower() != ".png" and same_name in self._images:
            # The public code gives masks their photo's name, also where two share a stem.
            image = same_name
        if image is None:
            raise InputError(
                f"{origin}: {self.root} has no photo for {mask}; put it "
                "back, or run data_preparation.py on the folder again"
            )
        photo = ListedPhoto(image, self.root / "landmarks" / f"{mask.stem}.txt", mask, origin)
        for path, known in ((photo.mask, self._masks), (photo.landmarks, self._landmarks)):
            if path not in known:
                raise InputError(
                    f"{origin}: {path} does not exist; run data_preparation.py on {self.root}"
                )
        return photo


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # what is missing is named when a line asks for it
