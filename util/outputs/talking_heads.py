"""Coefficients for programs that make faces talk: `sadtalker`, `pirender`, `styleheat` and others.

All of them know the coefficients of the Basel Face Model of 2009 before the R-Net's camera, and
nothing else. docs/outputs.md lists shapes, types and keys.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from scipy.io import savemat

from data.landmarks import five_from_68
from models.camera import Camera
from models.parameters import ParameterLayout
from models.whole_frame import whole_frame_pose
from options.output_options import TALKING_HEADS
from util.atomic import write_bytes
from util.errors import InputError
from util.model_files.bfm_file import NAME as BFM09
from util.numpy_pickle import dict_npy
from util.outputs.output import Output, OutputSource
from util.photos.face_result import FaceResult
from util.videos.face_track import FaceTrack

CROP_PX = 256
"""Side of the frames that crop parameters are learned from."""
_LAYOUT = ParameterLayout.for_sizes()


class TalkingHead(Output):
    """One program's files, of a photo or of all frames of a video."""

    takes_crops: ClassVar[bool] = False
    """Whether its numbers mean frames of 256 x 256: the place of the face in them is among them."""
    takes_squares: ClassVar[bool] = False
    """Whether its numbers mean square frames."""
    plays_hz: ClassVar[int | None] = None
    """Frames a second that it takes for granted."""

    def __init__(self, source: OutputSource) -> None:
        """Refuse runs whose coefficients are others.

        Raises:
            InputError: another face model than bfm09, or another camera than the R-Net's.
        """
        super().__init__(source)
        card = source.face_model.card
        if card.name != BFM09 or source.face_model.layout.size != _LAYOUT.size:
            raise InputError(
                f"--save {self.kind()}: {self.program} knows coefficients of the face model "
                f"{BFM09} alone, and these are of {card}; give --face_model {BFM09} (BFM/README.md "
                "says which files it needs), or leave the kind out"
            )
        given, usual = source.camera, Camera.rnet()
        is_usual = given.focal_px.allclose(usual.focal_px) and given.centre_px.allclose(
            usual.centre_px
        )
        if not is_usual or given.distance_dm != usual.distance_dm:
            raise InputError(
                f"--save {self.kind()}: {self.program} knows the usual camera alone; leave out "
                "--focal, --center and --camera_d"
            )

    @property
    def program(self) -> str:
        """Its name, for messages."""
        return TALKING_HEADS[self.kind()]

    @classmethod
    def kind(cls) -> str:
        """Its name in `--save`, which is that of its folder."""
        return cls.prefix.split("/")[0]

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write the files of a photo's face."""
        if abs(face.focal_scale - 1) > 1e-6:
            raise ValueError(f"{self.program} knows the usual focal length alone")
        self.write_track(folder, FaceTrack.of_photo(face))

    def write_track(self, folder: Path, track: FaceTrack) -> None:
        """Write the files of a face.

        Args:
            folder: of the results.
            track: its frames.

        Raises:
            ValueError: frames of another size than the program takes, or non-finite numbers.
        """
        self.check_size(track.frame_size)
        track.check()
        for name, content in self.files(track).items():
            write_bytes(folder / name, content)

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse frames that the program's numbers do not mean.

        Raises:
            ValueError: says the size and what to do.
        """
        width, height = size
        if self.takes_crops and size != (CROP_PX, CROP_PX):
            raise ValueError(
                f"{self.program} wants {CROP_PX} x {CROP_PX} pixels, cropped around the face "
                f"before it is fitted, and this is {width} x {height}: from other frames, its "
                "numbers for the face's place leave what it was trained with, and faces come out "
                "distorted; crop as its own preprocessing does, and fit the crop"
            )
        if self.takes_squares and width != height:
            raise ValueError(
                f"{self.program} wants square frames, and this is {width} x {height}; crop a "
                "square with head and shoulders, and fit that"
            )

    @abstractmethod
    def files(self, track: FaceTrack) -> Mapping[str, bytes]:
        """Names within the folder of the results, and contents."""

    @classmethod
    def video_files(cls, folder: Path, stem: str) -> list[Path]:
        """The files of a video that are there."""
        return [folder / name for name in cls.names(stem) if (folder / name).is_file()]


class SadTalkerOutput(TalkingHead):
    """`sadtalker/<stem>.mat`, as its preprocessing writes it beside the cropped photo."""

    what = "coefficients for SadTalker"
    prefix = "sadtalker/"
    endings = (".mat",)
    takes_crops = True
    plays_hz = 25

    def files(self, track: FaceTrack) -> dict[str, bytes]:
        """coeff_3dmm (N, 73) and full_3dmm (1, 257) of the first frame."""
        full = track.coefficients[:1].astype(np.float32)
        arrays = {"coeff_3dmm": moving(track), "full_3dmm": full}
        return {f"sadtalker/{track.stem}.mat": _mat(arrays)}


class PIRenderOutput(TalkingHead):
    """`pirender/<stem>.mat`, and for photos `_3dmm_coeff.txt` too; StyleTalk, DreamTalk read it."""

    what = "coefficients for PIRender"
    prefix = "pirender/"
    endings = (".mat", "_3dmm_coeff.txt")
    beside = ("the same as text",)
    takes_crops = True

    def files(self, track: FaceTrack) -> dict[str, bytes]:
        """Coeff (N, 257) and transform_params (N, 5), in single precision: more would corrupt."""
        coefficients = track.coefficients.astype(np.float32)
        params = track.trans_params.astype(np.float32)
        arrays = {"coeff": coefficients, "transform_params": params}
        files = {f"pirender/{track.stem}.mat": _mat(arrays)}
        if not track.is_video:
            numbers = np.concatenate([coefficients, params], axis=1)[0]
            text = "".join(f"{number:.18e}\n" for number in numbers.tolist())
            files[f"pirender/{track.stem}_3dmm_coeff.txt"] = text.encode("ascii")
        return files


class StyleHeatOutput(TalkingHead):
    """`styleheat/3dmm/3dmm_<stem>.npy`, as it lies beside the input."""

    what = "coefficients for StyleHEAT"
    prefix = "styleheat/3dmm/3dmm_"
    endings = (".npy",)
    takes_crops = True

    def files(self, track: FaceTrack) -> dict[str, bytes]:
        """(N, 73)."""
        buffer = io.BytesIO()
        np.save(buffer, moving(track))
        return {f"styleheat/3dmm/3dmm_{track.stem}.npy": buffer.getvalue()}


class FacialOutput(TalkingHead):
    """`facial/<stem>/<n>.mat`, a file a frame, counted from 1."""

    what = "coefficients for FACIAL"
    prefix = "facial/"
    endings = ("/1.mat",)

    def files(self, track: FaceTrack) -> dict[str, bytes]:
        """Coeff (1, 257) of each frame."""
        rows = track.coefficients.astype(np.float32)
        return {
            f"facial/{track.stem}/{number}.mat": _mat({"coeff": row[None]})
            for number, row in enumerate(rows, start=1)
        }

    @classmethod
    def video_files(cls, folder: Path, stem: str) -> list[Path]:
        """All frames, those of a longer video of an earlier run too."""
        paths = (folder / "facial" / stem).glob("*.mat")
        return [path for path in paths if path.stem.isdecimal()]


class GeneFaceOutput(TalkingHead):
    """`geneface/<stem>.npy`, which belongs at `data/processed/videos/<id>/vid_coeff.npy`."""

    what = "coefficients for GeneFace"
    prefix = "geneface/"
    endings = (".npy",)

    def files(self, track: FaceTrack) -> dict[str, bytes]:
        """Coeff (N, 257), lm68 (N, 68, 2), lm5 (N, 5, 2) in pixels of the frames."""
        five = np.stack([five_from_68(points) for points in track.landmarks])
        arrays = {"coeff": track.coefficients, "lm68": track.landmarks, "lm5": five}
        content = dict_npy({key: array.astype(np.float32) for key, array in arrays.items()})
        return {f"geneface/{track.stem}.npy": content}


class Real3DPortraitOutput(TalkingHead):
    """`real3dportrait/<stem>_coeff_fit_mp.npy`, for GeneFace++ too: poses in the whole frame."""

    what = "coefficients for Real3DPortrait and GeneFace++"
    prefix = "real3dportrait/"
    endings = ("_coeff_fit_mp.npy",)
    takes_squares = True

    def files(self, track: FaceTrack) -> dict[str, bytes]:
        """Id (N, 80), exp (N, 64), euler (N, 3), trans (N, 3)."""
        faces = _LAYOUT.split(torch.from_numpy(track.coefficients))
        model, side = self.source.face_model, track.frame_size[0]
        angles, shift = whole_frame_pose(model, faces, track.K, side, self.source.camera)
        arrays = {
            "id": faces.identity.numpy(),
            "exp": faces.expression.numpy(),
            "euler": angles,
            "trans": shift,
        }
        content = dict_npy({key: array.astype(np.float32) for key, array in arrays.items()})
        return {f"real3dportrait/{track.stem}_coeff_fit_mp.npy": content}


def moving(track: FaceTrack) -> np.ndarray:
    """(N, 73) float32: expression 64, angles 3, translation 3, and scale, x, y of the crop."""
    parts = _LAYOUT.slices
    names = ("expression", "angles_rad", "translation_dm")
    blocks = [track.coefficients[:, parts[name]] for name in names]
    return np.concatenate([*blocks, track.trans_params[:, 2:]], axis=1).astype(np.float32)


def _mat(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, dict(arrays))
    return buffer.getvalue()
