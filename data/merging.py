"""Join the lists and reports of all shards of a preparation into those of the whole.

The result is that of one process that prepared everything: the same lines in the same order. The
lists are read side by side, a few lines of each, so that their length does not matter.
"""

from __future__ import annotations

import csv
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path

from data.images import image_names
from data.prepared_files import (
    DOUBTFUL,
    LIST_NAMES,
    REPORT_NAME,
    Failure,
    ListWriter,
    ReportWriter,
    Summary,
    lines_of,
    printable,
    report_rows,
)
from data.sharding import SHARDS_NAME, Shard, ShardRecord, shard_folder
from util.errors import InputError


def merge_shards(lists: Path, folders: Sequence[Path] = (), *, partial: bool = False) -> Summary:
    """Write the lists and reports of all shards.

    Args:
        lists: datalist/<mode>, whose folder `shards` holds what the shards wrote.
        folders: the folders of photos, if the user names them again: they must be the shards'.
        partial: where shards are missing, merge the others; the summary names what lacks.

    Raises:
        InputError: no shards, shards that are missing, of several divisions or of other folders;
            the lists and reports stay as they were.
    """
    records = _read_records(lists)
    count = records[0].shard.count
    found = {record.shard.index for record in records}
    photo_folders = [Path(folder) for folder in records[0].folders]
    if folders and [f.resolve() for f in folders] != [f.resolve() for f in photo_folders]:
        raise InputError(
            f"--img_folder: the parts in {lists / SHARDS_NAME} are of "
            f"{', '.join(records[0].folders)}; leave --img_folder out, or give these"
        )
    missing = []
    if absent := [str(Shard(index, count)) for index in range(count) if index not in found]:
        sentence = (
            f"{len(absent)} of {count} parts are not prepared; run data_preparation.py with "
            f"--shard {_some(absent)}, then --merge again"
        )
        if not partial:
            raise InputError(
                f"--merge: {sentence}; the lists stay as they were (--merge_partial writes those "
                "of the other parts)"
            )
        missing.append(sentence)
    kinds, examples, failed = _merge_reports(lists, records, photo_folders)
    doubts = kinds.pop(DOUBTFUL, 0)
    usable = _merge_lists(lists, records)
    if not absent:
        missing += _changed_folders(photo_folders, usable, failed)
    total = sum(usable.values())
    skipped = min(sum(record.skipped for record in records), total)
    fitted = [record.fitted for record in records if record.fitted is not None]
    return Summary(
        done=total - skipped,
        skipped=skipped,
        failures=kinds,
        examples=examples,
        reports=tuple(folder / REPORT_NAME for folder in photo_folders),
        lists=lists,
        fitted=sum(fitted) if fitted else None,
        doubts=doubts,
        missing=tuple(missing),
    )


def _read_records(lists: Path) -> list[ShardRecord]:
    """The records of all finished shards, in order, which must belong together."""
    root = lists / SHARDS_NAME
    records = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if Shard.of_folder(folder) and (record := ShardRecord.read(folder)):
            records.append(record)
    if not records:
        raise InputError(
            f"--merge: {root} holds no finished part; prepare the parts first, each with --shard"
        )
    if len(counts := {record.shard.count for record in records}) > 1:
        raise InputError(
            f"--merge: {root} holds parts of {' and of '.join(map(str, sorted(counts)))}; "
            "delete the folders of the division that you do not want"
        )
    for record in records:
        if record.folders != records[0].folders:
            raise InputError(
                f"--merge: part {record.shard} is of {', '.join(record.folders)}, part "
                f"{records[0].shard} of {', '.join(records[0].folders)}; prepare all parts with "
                "the same --img_folder"
            )
    return records


def _merge_lists(lists: Path, records: Sequence[ShardRecord]) -> Counter[str]:
    """Write the whole lists; returns the number of photos of each folder.

    Where no photo is left the lists stay as they were.
    """
    order = {folder: number for number, folder in enumerate(records[0].folders)}

    def lines(record: ShardRecord) -> Iterator[tuple[tuple[int, str], tuple[str, ...]]]:
        folder = shard_folder(lists, record.shard)
        columns = [lines_of(folder / f"{name}.txt") for name in LIST_NAMES]
        try:
            for triple in zip(*columns, strict=True):
                yield _key(triple[0], order), triple
        except (OSError, ValueError) as error:
            raise InputError(
                f"the lists in {folder} cannot be used ({error}); run data_preparation.py with "
                f"--shard {record.shard} again"
            ) from error

    merged = heapq.merge(*map(lines, records))
    first = next(merged, None)
    counts: Counter[str] = Counter()
    if first is None:
        return counts
    with ListWriter(lists) as writer:
        for (number, _), triple in chain([first], merged):
            writer.add(triple)  # pyright: ignore[reportArgumentType]
            counts[records[0].folders[number]] += 1
    return counts


def _merge_reports(
    lists: Path, records: Sequence[ShardRecord], photo_folders: Sequence[Path]
) -> tuple[Counter[str], dict[str, str], Counter[str]]:
    """Write each folder's report.

    Returns:
        The rows by kind, a reason of each kind, and the unusable photos by folder.
    """
    order = {printable(folder): number for number, folder in enumerate(records[0].folders)}

    def rows(record: ShardRecord) -> Iterator[tuple[tuple[int, str], str, str]]:
        path = shard_folder(lists, record.shard) / REPORT_NAME
        try:
            for image, kind, reason in report_rows(lines_of(path)):
                yield _key(image, order), kind, reason
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(
                f"{path} cannot be used ({error}); run data_preparation.py with "
                f"--shard {record.shard} again"
            ) from error

    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    failed: Counter[str] = Counter()
    of_folder = groupby(heapq.merge(*map(rows, records)), key=lambda row: row[0][0])
    upcoming = next(of_folder, None)
    for number, folder in enumerate(photo_folders):
        failures = upcoming[1] if upcoming and upcoming[0] == number else ()
        with ReportWriter(folder / REPORT_NAME) as report:
            for (_, name), kind, reason in failures:
                report.add(name, Failure(kind, reason))  # pyright: ignore
                kinds[kind] += 1
                examples.setdefault(kind, reason)
                failed[folder.as_posix()] += kind != DOUBTFUL
        if upcoming and upcoming[0] == number:
            upcoming = next(of_folder, None)
    return kinds, examples, failed


def _changed_folders(
    photo_folders: Sequence[Path], usable: Counter[str], failed: Counter[str]
) -> Iterator[str]:
    """A sentence for each folder whose photos are more or less than the shards prepared."""
    for folder in photo_folders:
        name = folder.as_posix()
        known = usable[name] + failed[name]
        if not folder.is_dir():
            yield f"{folder} is not there; the lists name {usable[name]} photos of it"
        elif (now := sum(1 for _ in image_names(folder))) > known:
            yield (
                f"{folder} holds {now - known} photos more than the parts prepared; run "
                "data_preparation.py with each --shard again, which does only what is new"
            )
        elif now < known:
            yield (
                f"{folder} holds {known - now} photos less than the parts prepared; run "
                "data_preparation.py with each --shard again, so that the lists leave them out"
            )


def _key(image: str, order: dict[str, int]) -> tuple[int, str]:
    """Number of the photo's folder and name of the photo, by which shards' lists are sorted."""
    folder, _, name = image.rpartition("/")
    if folder not in order:
        raise ValueError(f"{image} lies in none of the folders {', '.join(order)}")
    return order[folder], name


def _some(texts: Sequence[str], most: int = 20) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
