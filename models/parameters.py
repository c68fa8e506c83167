"""What the R-Net's numbers mean: named parameter blocks, their order, and the typed coefficients.

The published layout (Deng et al., CVPRW 2019) has 257 numbers: identity 0:80, expression 80:144,
texture 144:224, angles 224:227, lighting gamma 227:254, translation 254:257. Another face model
may have other block sizes (the Basel Face Models of 2017 and 2019: 199, 100 and 199), and the
rotations of its joints after all others; only the layout object knows them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ParameterBlock:
    """A run of coefficients with one meaning."""

    name: str
    """Field of `Coefficients` that holds the block."""
    size: int
    """Number of coefficients."""
    unit: str
    """Physical unit; "sigma" where a coefficient counts standard deviations of a basis."""
    sigma: tuple[float, ...] | None = None
    """Prior standard deviation of each coefficient; None where there is no prior (pose, light)."""
    parity: tuple[int, ...] | None = None
    """What the mirror image of a face has: the same coefficient (1) or its negative (-1); None
    where the basis has no such symmetry."""


@dataclass(frozen=True)
class Coefficients:
    """One face per batch item, as parameters of the face model, the pose and the light.

    The basis blocks weigh the columns of a face model's bases.
    """

    identity: Float[Tensor, "batch identity"]
    """Weights of the identity basis."""
    expression: Float[Tensor, "batch expression"]
    """Weights of the expression basis; zero is the neutral face."""
    texture: Float[Tensor, "batch texture"]
    """Weights of the albedo basis."""
    angles_rad: Float[Tensor, "batch 3"]
    """Pitch, yaw, roll in radians; see `models.camera.rotation_matrix`."""
    gamma: Float[Tensor, "batch 27"]
    """Spherical-harmonics light, nine for red, then green, then blue; see `models.lighting`."""
    translation_dm: Float[Tensor, "batch 3"]
    """Translation in the object frame, in decimetres."""
    joints_rad: Float[Tensor, "batch joints"] | None = None
    """Axis-angle rotations of the face model's joints (`models.skeleton`); None without joints."""
    log_focal: Float[Tensor, "batch 1"] | None = None
    """Logarithm of the focal length over the camera's, the same for all faces, while a fit looks
    for it (`models.camera.Camera.zoomed`); no part of a face model's layout, and None elsewhere."""

    def to(self, target: torch.device | torch.dtype | str) -> Coefficients:
        """Move or cast every block, as `Tensor.to` does."""
        return replace(self, **{name: block.to(target) for name, block in self.items()})

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, block) in the order of the layout, without those that the model lacks."""
        for field in fields(self):
            block = getattr(self, field.name)
            if block is not None:
                yield field.name, block

    def item(self, index: int) -> Coefficients:
        """One face of the batch, as a batch of one."""
        return replace(self, **{name: block[index : index + 1] for name, block in self.items()})

    def rows(self, numbers: Int[Tensor, " rows"]) -> Coefficients:
        """Some faces of the batch."""
        return replace(
            self, **{name: block.index_select(0, numbers) for name, block in self.items()}
        )

    def __len__(self) -> int:
        return self.identity.shape[0]


@dataclass(frozen=True)
class ParameterLayout:
    """Order and sizes of the blocks in one flat coefficient vector."""

    blocks: tuple[ParameterBlock, ...]

    @classmethod
    def for_sizes(
        cls, identity: int = 80, expression: int = 64, texture: int = 80
    ) -> ParameterLayout:
        """Layout of a linear face model with these basis sizes; the defaults are the paper's."""
        return cls.for_bases(
            ParameterBlock("identity", identity, "sigma"),
            ParameterBlock("expression", expression, "sigma"),
            ParameterBlock("texture", texture, "sigma"),
        )

    @classmethod
    def for_bases(
        cls, *bases: ParameterBlock, joints: ParameterBlock | None = None
    ) -> ParameterLayout:
        """The blocks of a face model's bases, then pose and light, then its joints if it has any.

        Mirroring the scene at x = 0 negates yaw, roll, the shift along x, and the harmonics that
        are odd in x (numbers 3, 4 and 7 of `models.lighting.sh_basis`).
        """
        light = (1, 1, 1, -1, -1, 1, 1, -1, 1)
        return cls(
            (
                *bases,
                ParameterBlock("angles_rad", 3, "rad", parity=(1, -1, -1)),
                ParameterBlock("gamma", 27, "radiance", parity=3 * light),
                ParameterBlock("translation_dm", 3, "dm", parity=(-1, 1, 1)),
                *(() if joints is None else (joints,)),
            )
        )

    def only(self, names: Collection[str]) -> ParameterLayout:
        """The layout of some blocks, in the same order."""
        return ParameterLayout(tuple(block for block in self.blocks if block.name in names))

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(block.size for block in self.blocks)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each block lies in the flat vector."""
        result, start = {}, 0
        for block in self.blocks:
            result[block.name] = slice(start, start + block.size)
            start += block.size
        return result

    def split(self, flat: Float[Tensor, "batch parameters"]) -> Coefficients:
        """Name the blocks of flat coefficient vectors (views, no copy).

        Raises:
            ValueError: the vectors do not have this layout's length.
        """
        if flat.shape[-1] != self.size:
            raise ValueError(
                f"coefficient vectors have {flat.shape[-1]} numbers, "
                f"but this face model's layout has {self.size}"
            )
        return Coefficients(**{name: flat[:, part] for name, part in self.slices.items()})

    def join(self, coefficients: Coefficients) -> Float[Tensor, "batch parameters"]:
        """Inverse of `split`."""
        return torch.cat([getattr(coefficients, block.name) for block in self.blocks], dim=1)

    def mirror(self, flat: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch parameters"]:
        """Coefficients of the mirror image: of a photo flipped left to right.

        Raises:
            ValueError: a basis of the face model is not mirror-symmetric.
        """
        signs: list[int] = []
        for block in self.blocks:
            if block.parity is None:
                raise ValueError(f"the face model's {block.name} basis has no mirror symmetry")
            signs += block.parity
        return flat * flat.new_tensor(signs)

    def zeros(self, batch: int, device: torch.device | str = "cpu") -> Coefficients:
        """Coefficients of the mean face: unrotated, centred, under the constant light."""
        return self.split(torch.zeros(batch, self.size, device=device))
