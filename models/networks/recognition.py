"""Recognition networks: how much two pictures show the same person.

They judge the rendered face in the identity loss (Deng et al., CVPRW 2019, L_per). They are frozen,
but let gradients through to the picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.networks import dlib_resnet, iresnet
from models.networks.dlib_resnet import DlibResNet, merge_affine
from models.networks.iresnet import IResNet


def _inverse(transforms: Float[Tensor, "batch 2 3"]) -> Float[Tensor, "batch 2 3"]:
    """The affine maps back, in closed form: a matrix inverse of torch.linalg waits for a GPU."""
    (a, b, shift_x), (c, d, shift_y) = (row.unbind(-1) for row in transforms.unbind(-2))
    rows = torch.stack([d, -b, b * shift_y - d * shift_x, -c, a, c * shift_x - a * shift_y], dim=-1)
    return (rows / (a * d - b * c)[:, None]).unflatten(-1, (2, 3))


class RecognitionNet(nn.Module, ABC):
    """A frozen embedder that knows its input and its own distance.

    Whatever is called, it stays in eval mode and its parameters get no gradient: batch statistics
    of a rendering must not change it.

    Args:
        network: embedder of aligned faces.
        template: (5, 2), where the eye centres (image left first), the nose tip and the mouth
            corners lie in the network's input, as pixel indices (x, y), y down.
        input_size: side of the input in pixels.
    """

    template: Tensor
    stranger_distance: float = 1.0
    """Usual distance of two persons' pictures."""

    def __init__(
        self, network: nn.Module, template: tuple[tuple[float, float], ...], input_size: int
    ) -> None:
        super().__init__()
        # Convolutions on the CPU run faster with the channels innermost; numbers do not change.
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network = network
        self.input_size = input_size
        self.register_buffer("template", torch.tensor(template), persistent=False)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> RecognitionNet:
        """Stay in eval mode: the network is frozen."""
        del mode
        super().train(False)
        return self

    def align(
        self,
        images: Float[Tensor, "batch 3 height width"],
        transforms: Float[Tensor, "batch 2 3"],
    ) -> Float[Tensor, "batch 3 size size"]:
        """Warp faces onto the template (bilinear, zero outside).

        Args:
            images: RGB in [0, 1].
            transforms: image -> template, both in pixel indices (the centre of pixel i is i), as
                OpenCV's warpAffine takes them.
        """
        back = _inverse(transforms.to(images))[:, None, None]
        index = torch.arange(self.input_size, dtype=images.dtype, device=images.device)
        x, y = index[None, None, :, None], index[None, :, None, None]
        place = back[..., 0] * x + back[..., 1] * y + back[..., 2]
        # The image's edges, half a pixel outside of its first and last centres, are at -1 and 1.
        height, width = images.shape[2:]
        grid = torch.stack(
            [(2 * place[..., 0] + 1) / width - 1, (2 * place[..., 1] + 1) / height - 1], dim=-1
        )
        return functional.grid_sample(images, grid, align_corners=False)

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        transforms: Float[Tensor, "batch 2 3"],
    ) -> Float[Tensor, "batch features"]:
        """Embed faces.

        Args:
            images: RGB in [0, 1], of any size.
            transforms: image -> template in pixel indices; see `align`.
        """
        faces = self.align(images, transforms)
        return self.embed(faces.contiguous(memory_format=torch.channels_last))

    @abstractmethod
    def embed(self, faces: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch features"]:
        """Embed aligned faces, RGB in [0, 1]."""

    @abstractmethod
    def distance(
        self, a: Float[Tensor, "batch features"], b: Float[Tensor, "batch features"]
    ) -> Float[Tensor, " batch"]:
        """How different the persons of two embeddings are; 0 for the same picture."""


class DlibRecognitionNet(RecognitionNet):
    """dlib's network, with the Euclidean distance it was trained for.

    The same person is about 0.4 apart, strangers 0.9, and dlib's threshold is 0.6. The cosine would
    be blind: the descriptors of all faces point in similar directions (0.83 between strangers).
    """

    stranger_distance = 0.9
    TEMPLATE = (
        (47.817, 47.408),
        (100.208, 47.408),
        (74.013, 76.563),
        (50.415, 103.023),
        (97.610, 103.023),
    )

    def __init__(self, network: DlibResNet) -> None:
        """Take a copy of a network with its weights, whose affine layers are merged."""
        super().__init__(merge_affine(network), self.TEMPLATE, dlib_resnet.INPUT_SIZE)

    def embed(self, faces: Float[Tensor, "batch 3 150 150"]) -> Float[Tensor, "batch 128"]:
        """Embed aligned faces, RGB in [0, 1]."""
        return self.network(faces)

    def distance(
        self, a: Float[Tensor, "batch 128"], b: Float[Tensor, "batch 128"]
    ) -> Float[Tensor, " batch"]:
        """Euclidean distance; its gradient where both agree is zero, not NaN."""
        return torch.linalg.vector_norm(a - b, dim=-1)


class ArcFaceRecognitionNet(RecognitionNet):
    """An ArcFace network, with the cosine distance of its loss; embeddings are unit vectors."""

    TEMPLATE = (
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    )

    def __init__(self, network: IResNet) -> None:
        super().__init__(network, self.TEMPLATE, iresnet.INPUT_SIZE)

    def embed(self, faces: Float[Tensor, "batch 3 112 112"]) -> Float[Tensor, "batch 512"]:
        """Embed aligned faces, RGB in [0, 1]."""
        return functional.normalize(self.network(2.0 * faces - 1.0), dim=-1)

    def distance(
        self, a: Float[Tensor, "batch 512"], b: Float[Tensor, "batch 512"]
    ) -> Float[Tensor, " batch"]:
        """1 - cosine: 0 for the same direction, 2 for opposite ones."""
        return 1.0 - (functional.normalize(a, dim=-1) * functional.normalize(b, dim=-1)).sum(dim=-1)
