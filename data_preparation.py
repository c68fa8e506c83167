"""Prepare folders of photos for training: landmarks, skin masks and lists.

python data_preparation.py --img_folder my_photos --mode train

Millions of photos, as an array job of any scheduler: `--shard 0/16` ... `--shard 15/16`, then
`python data_preparation.py --merge --mode train`.

With `--fit` also the coefficients of the face model, with which `train.py --w_coeff 1` begins.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from data.fitted_labels import FaceLabeller
from data.merging import merge_shards
from data.preparation import PreparationOptions, find_folders, prepare_folders
from data.prepared_files import LIST_NAMES, lines_of
from data.sharding import Shard
from data.tar_shards import PackingOptions, PackSummary, pack_photos
from options import ParsedOptions, parse_command
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions, check_face_model
from util.command import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare the photos, or merge what parts of them gave.

    The exit code is 1 if no photo can be used, or if a merger finds that the folders have changed
    since, of which nothing is packed then. A part is done whatever its photos are: only the merger
    sees them all.
    """
    parsed = parse_command(option_groups, arguments, __doc__ or "")
    options, packing = parsed[PreparationOptions], parsed[PackingOptions]
    if options.merge:
        folders = find_folders(options.img_folder, options.data_root) if options.img_folder else ()
        lists = Path("datalist") / options.mode
        summary = merge_shards(lists, folders, partial=options.merge_partial)
    else:
        summary = prepare_folders(options, parsed[DetectionOptions], labeller_of(parsed))
    print(summary)
    incomplete = summary.missing and not options.merge_partial
    if packing.tar_folder and summary.usable and not incomplete:
        print(pack(summary.lists, packing, options, summary.usable))
    if incomplete or not (summary.usable or options.shard):
        sys.exit(1)


def option_groups(given: dict[str, str]) -> list[type]:
    """The options; those of the face model where one is fitted."""
    groups: list[type] = [PreparationOptions, DetectionOptions, PackingOptions]
    if "fit" in given:
        groups.append(FaceModelOptions)
    return groups


def labeller_of(parsed: ParsedOptions) -> FaceLabeller | None:
    """What fits the photos, if `--fit` asks for it; says which face model that is."""
    options = parsed[PreparationOptions]
    if not options.fit:
        return None
    check_face_model(parsed[FaceModelOptions])
    # What computes takes seconds to import: only now that the command line is sound.
    from util.photos.photo_labeller import PhotoLabeller

    if not parsed.given("jaw_landmarks"):
        # Detectors mark where a turned head ends.
        parsed = parsed.with_values(FaceModelOptions, jaw_landmarks="silhouette")
    labeller = PhotoLabeller(parsed[FaceModelOptions], options.fit_preset)
    print(f"Face model: {labeller.message}")
    return labeller


def pack(
    lists: Path, packing: PackingOptions, options: PreparationOptions, total: int
) -> PackSummary:
    """Write the photos of the lists, so many in total, into tar files, with a progress bar."""
    columns = [lines_of(lists / f"{name}.txt") for name in LIST_NAMES]
    photos = tqdm(zip(*columns, strict=True), total=total, unit="photo", desc="packing")
    shard = Shard.parse(options.shard) if options.shard else None
    folder = Path(packing.tar_folder) / options.mode
    return pack_photos(photos, folder, packing.tar_megabytes * 2**20, shard)


if __name__ == "__main__":
    run_command(main)
