"""A face along N frames as arrays that writers for talking heads are fed with; a photo is one."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from util.photos.face_result import FaceResult


@dataclass(frozen=True)
class FaceTrack:
    """One face in frames of one size; every frame has a row."""

    stem: str
    """Name of its files."""
    frame_size: tuple[int, int]
    """Width and height of the photo, or of the video's frames."""
    is_video: bool
    coefficients: np.ndarray
    """(N, P) in the face model's layout."""
    trans_params: np.ndarray
    """(N, 5) the public code's alignment: width, height, scale, x and y (up) of the origin."""
    landmarks: np.ndarray
    """(N, 68, 2) detected or given pixel indices of the frames, y down."""
    K: np.ndarray
    """(N, 3, 3) of the frames."""

    @classmethod
    def of_photo(cls, face: FaceResult) -> FaceTrack:
        """A face of a photo, as its only frame."""
        blocks = [block.detach().double().cpu().numpy() for _, block in face.coefficients.items()]
        given = face.given_landmarks_index
        landmarks = face.landmarks_photo if given is None else face.in_photo(given) - 0.5
        return cls(
            stem=face.stem,
            frame_size=face.alignment.photo_size,
            is_video=False,
            coefficients=np.concatenate(blocks, axis=1),
            trans_params=face.aligned.public_parameters[None],
            landmarks=landmarks[None],
            K=face.camera.K[None],
        )

    @classmethod
    def of_video(
        cls,
        stem: str,
        frame_size: tuple[int, int],
        found: np.ndarray,
        arrays: dict[str, np.ndarray],
    ) -> FaceTrack:
        """A face along a video; what frames without it lack goes on a line from before to after.

        Formats for talking heads pair frames with sound by their number, so that none may be left
        out, and none may be a face of zeros. Before the first face and after the last, it stays.

        Args:
            stem: name of the files.
            frame_size: width and height.
            found: (N,) whether a frame has a face; one at least has.
            arrays: coefficients, trans_params, landmarks, K: a row for each frame.
        """
        numbers, known = np.arange(len(found)), np.flatnonzero(found)

        def whole(rows: np.ndarray) -> np.ndarray:
            flat = rows.reshape(len(rows), -1).astype(np.float64)
            columns = [np.interp(numbers, known, column[known]) for column in flat.T]
            return np.stack(columns, axis=1).reshape(rows.shape)

        return cls(stem, frame_size, True, **{name: whole(rows) for name, rows in arrays.items()})

    def __len__(self) -> int:
        return len(self.coefficients)

    def check(self) -> None:
        """Refuse numbers that are none.

        Raises:
            ValueError: names what is not finite.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                raise ValueError(f"{self.stem}: {field.name} holds non-finite numbers")
