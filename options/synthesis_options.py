"""Options of `make_synthetic.py` alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from data.sharding import Shard
from options.face_options import CROP_PX, DATATOOL_PX, SYNERGY_CROP_PX
from util.errors import InputError

LAYOUT_PX = {"ddfa": SYNERGY_CROP_PX, "aflw2000": SYNERGY_CROP_PX, "datatool": DATATOOL_PX}
"""Sides of the pictures in layouts of other programs."""
FEWEST_TO_VALIDATE, VALIDATION_COUNT = 8, 256
"""Fewest faces that are made for validation, and most, unless --n_val says how many."""


@dataclass(frozen=True)
class SynthesisOptions:
    """Faces rendered from the face model, with their true coefficients."""

    n: int = 12000
    """Number of faces."""
    n_val: int | None = None
    """Further faces for validation, in a second folder <out>_val with the next seed; none takes a
    tenth of --n, at least 8 and at most 256."""
    out: str = "datasets/synthetic"
    """Folder of the faces; their lists go to datalist/<name of the folder>/."""
    seed: int = 0
    """Random seed; a face depends on it and on its number."""
    size: int = CROP_PX
    """Side of the pictures in pixels; train.py takes the truth of pictures of 224."""
    camera: Literal["rnet", "random"] = "rnet"
    """The R-Net's camera, for which coefficients are trained; or for each picture a random lens,
    distance, principal point and picture size, which about --size is then the shorter side of."""
    layout: Literal["prepared", "ddfa", "aflw2000", "datatool"] = "prepared"
    """Files as of prepared photos; for SynergyNet as of 3DDFA's crops of 120 pixels
    (train_aug_120x120, 3dmm_data, and --n_val heads of the next seed as aflw2000_data), of
    aflw2000_data alone, or of the datatool (tags SYNTH and SYNTH_VAL, 450 pixels)."""
    looks: Literal["full", "plain"] = "full"
    """plain renders the face model alone, under its light, before grey: to compare with."""
    backgrounds: str = ""
    """Folder of pictures to put behind four of five faces; best without faces in them."""
    maps: Literal["none", "masks", "all"] = "none"
    """Truth of each pixel beside the skin mask: masks writes parts/ (face, skin, hair, occluders),
    all also depth/ and normals/."""
    shard: str = ""
    """Make one of n parts, i/n with i from 0 to n - 1, as array jobs count; then --merge."""
    merge: bool = False
    """Make nothing: write coefficients and lists of what all parts made, with the same flags."""
    num_workers: int | None = None
    """Processes; none takes one for each core, 0 works without any others."""
    overwrite: bool = False
    """Make everything anew, also what is finished or was made with other settings."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        if self.n < 1:
            raise InputError(f"--n is {self.n}; it must be at least 1")
        if not 32 <= self.size <= 4096:
            raise InputError(f"--size is {self.size}; it must be from 32 to 4096 pixels")
        for flag in ("n_val", "seed", "num_workers"):
            if (getattr(self, flag) or 0) < 0:
                raise InputError(f"--{flag} is {getattr(self, flag)}; it must be 0 or more")
        if self.layout != "prepared":
            self._check_layout()
        if Path(self.out).name in ("", ".."):
            raise InputError(f"--out is {self.out!r}; give a folder by its name")
        if Path(self.out).name in ("train", "val"):
            raise InputError(
                f"--out is {self.out!r}; its list would replace the one that "
                "data_preparation.py writes for photos, give the folder another name"
            )
        if self.shard and self.merge:
            raise InputError("--shard and --merge: merge once, when all parts are made")
        if self.shard:
            try:
                Shard.parse(self.shard)
            except ValueError as error:
                raise InputError(f"--shard {self.shard}: {error}") from error

    def _check_layout(self) -> None:
        """Refuse what the files of other layouts have no place for."""
        side = LAYOUT_PX[self.layout]
        if self.size not in (side, SynthesisOptions.size) or self.camera != "rnet":
            raise InputError(
                f"--layout {self.layout} has pictures of {side} pixels and a camera of its own; "
                "leave out --size and --camera"
            )
        if self.maps != "none":
            raise InputError(
                f"--layout {self.layout} has no place for --maps {self.maps}; leave it out, or "
                "give --layout prepared"
            )

    @property
    def list_name(self) -> str:
        """Folder of the lists: one for each set of faces, apart from those of photos."""
        return Path(self.out).name

    @property
    def validation_count(self) -> int:
        """Faces for validation."""
        if self.n_val is None:
            return min(max(self.n // 10, FEWEST_TO_VALIDATE), VALIDATION_COUNT)
        return self.n_val

    def validation(self) -> SynthesisOptions:
        """The same for the validation folder."""
        folder = Path(self.out)
        return replace(
            self,
            n=self.validation_count,
            n_val=0,
            out=str(folder.with_name(f"{folder.name}_val")),
            seed=self.seed + 1,
        )


Looks = Literal["full", "plain"]
