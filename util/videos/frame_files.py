"""Files of a followed face with a row, or a picture, for each frame, however it was followed.

<stem>.npz, <stem>.mat    arrays of N rows, zeros where there is no face
<stem>_*.mp4              panels side by side, with the sound of the source
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat
from tqdm import tqdm

from data.video import VideoFrame, VideoReader
from util.atomic import write_bytes
from util.videos.followed_face import FollowedFace
from util.videos.video_file import VideoWriter


def common_arrays(face: FollowedFace, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """What the files of all methods hold of a face.

    Args:
        face: along the video.
        landmarks: (N, 68, 2) of it, pixel indices of the frames; zeros without a face.
    """
    crops = np.zeros((len(face.found), 2, 3))
    for number in np.flatnonzero(face.found).tolist():
        crops[number] = face.crop(number).matrix
    return {
        "time_s": face.times_s,
        "found": face.found,
        "lm68": landmarks,
        "photo_to_crop": crops,
    }


def write_arrays(
    stem: Path, arrays: Mapping[str, np.ndarray], endings: Sequence[str] = (".npz", ".mat")
) -> None:
    """Write arrays by their names.

    Args:
        stem: of the files.
        arrays: to write.
        endings: the formats.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    broken = [key for key, value in arrays.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"{stem.name}: {', '.join(broken)} holds non-finite numbers")
    for ending in endings:
        buffer = io.BytesIO()
        if ending == ".npz":
            np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
        else:
            savemat(buffer, dict(arrays), do_compression=True)
        write_bytes(stem.with_name(f"{stem.name}{ending}"), buffer.getvalue())


def write_side_by_side(
    path: Path, reader: VideoReader, panels: Callable[[VideoFrame], Sequence[np.ndarray]]
) -> str:
    """Write panels of each frame side by side, with the sound of the input.

    Args:
        path: the .mp4.
        reader: of the input.
        panels: makes those of a frame, (H, W, 3) uint8 of one height.

    Returns:
        Why the sound was not kept; empty if it was, or there is none.
    """
    source = reader.info.path if reader.info.has_audio else None
    with VideoWriter(path, audio_from=source) as writer:
        for frame in tqdm(reader, total=len(reader), unit="frame", desc="drawing"):
            writer.write(np.concatenate(panels(frame), axis=1), frame.time_s)
    return writer.result.problem
