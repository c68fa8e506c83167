"""Training input: a prepared folder against tar shards of the same photos, in random order.

From the root: `python -m benchmarks.input_reading [--photos N] [--cold] [--folder DIR]`. `--folder`
puts the files on the disk or network file system that is to be measured; `--cold` asks the system
to forget their content before each run (Linux). "Samples" are read, decoded and aligned; "files"
are read only.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.timing import compare
from data.flist_dataset import FlistDataset
from data.images import write_image
from data.landmarks import write_landmarks
from data.portraits import portraits
from data.prepared_files import PhotoFiles
from data.skin_mask import skin_mask
from data.tar_shards import pack_photos
from data.webdataset_dataset import WebdatasetDataset, read_sample
from options.data_options import AugmentationOptions, FlistOptions, WebdatasetOptions
from options.face_options import LandmarkOptions
from util.assets import OPEN_FACE_MODEL
from util.model_files.face_model_file import read_face_model


def write_folder(root: Path, count: int) -> list[PhotoFiles]:
    """A prepared folder of variations of one portrait, 0.25 megapixels each."""
    from data.detection import DlibDetector

    picture = portraits()["astronaut"]
    landmarks = DlibDetector().detect(picture, largest_only=True)[0].landmarks_px
    photos = []
    for number in range(count):
        shift = number % 100
        image = np.ascontiguousarray(picture[:, shift:])
        photo = PhotoFiles(root / "faces" / f"{number:05d}.jpg", f"{number:05d}")
        write_image(photo.image, image)
        write_landmarks(photo.landmarks, landmarks - np.array([shift, 0]))
        write_image(photo.mask, skin_mask(image))
        photos.append(photo)
    return photos


def datasets(root: Path, photos: list[PhotoFiles]) -> tuple[FlistDataset, WebdatasetDataset]:
    """The same samples from both."""
    flist, tar = root / "masks.txt", root / "tar"
    flist.write_text("".join(f"{photo.listed[2]}\n" for photo in photos), encoding="utf-8")
    pack_photos([photo.listed for photo in photos], tar, 64 * 2**20, None)
    points = torch.from_numpy(read_face_model(OPEN_FACE_MODEL).alignment_points).float()
    assets: Any = SimpleNamespace(
        face_model=SimpleNamespace(alignment_points=points), recognition_net=None
    )
    groups = [
        FlistOptions("./", str(flist), str(flist)),
        WebdatasetOptions(str(tar), str(tar)),
        AugmentationOptions(),
        LandmarkOptions(),
    ]
    options = {type(group): group for group in groups}
    return FlistDataset(options, assets, False), WebdatasetDataset(options, assets, False)


def forget(root: Path) -> None:
    """Ask the system to drop the files' content from its memory."""
    for path in root.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def main() -> None:
    """Print the time of an epoch for each case, which take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="forget the files before each run")
    parser.add_argument("--folder", type=Path, help="where the files are made for the time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root = Path(name)
        photos = write_folder(root, arguments.photos)
        flist, tars = datasets(root, photos)
        order = tars.shuffled(len(tars), np.random.default_rng(0)).tolist()

        def files_of_folder(index: int) -> None:
            for path in (photos[index].image, photos[index].landmarks, photos[index].mask):
                path.read_bytes()

        def files_of_tar(index: int) -> None:
            read_sample(*tars.read(index))

        def epoch(read: Callable[[int], object]) -> Callable[[], None]:
            def run() -> None:
                for index in order:
                    read(index)

            return run

        readers = {
            "files, folder": files_of_folder,
            "files, tar": files_of_tar,
            "samples, folder": flist.__getitem__,
            "samples, tar": tars.__getitem__,
        }
        cases = {name: epoch(read) for name, read in readers.items()}
        title = f"{arguments.photos} photos, {'cold' if arguments.cold else 'warm'}"
        before = (lambda: forget(root)) if arguments.cold else None
        table = compare(cases, repeats=arguments.repeats, title=title, before=before)
    print(table)
    for timing in table.timings:
        print(f"{timing.name}: {arguments.photos / timing.median:.0f} faces/s")


if __name__ == "__main__":
    main()
