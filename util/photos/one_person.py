"""Whether photos that are said to show one person do."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from models.landmarks import five_from_68, to_index
from models.networks.recognition import RecognitionNet
from models.similarity import estimate_similarity
from options.network_options import RecognitionOptions
from util.model_files.recognition_file import load_recognition_net

STRANGER_DISTANCE = 0.7
"""Median distance of a photo's descriptor from those of the others above which it very likely
shows somebody else.

Measured on 17 photos of as many people and 20 frames of one person's video: of sets of 2, 3, 5 and
8 strangers, 94, 98.8, 99.8 and 99.8 % of the photos lie above it (1 % quantiles of the medians
0.66, 0.70, 0.73, 0.75), of as many frames none (largest 0.46). dlib's own threshold of 0.6 for two
photos would be less gentle with the same person years later."""


def stranger_warning(distance: float) -> str:
    """What is said of a photo at this distance from the others."""
    return (
        f"very likely somebody else than in the other photos (distance {distance:.2f}; of one "
        "person about 0.4, of two about 0.9): --same_person gives all of them one mean identity"
    )


class OnePersonCheck:
    """Compares faces by dlib's recognition network, which comes with the dependencies.

    The energy of a joint fit would tell less: a face model follows strangers too, at the price of
    a mean identity.
    """

    def __init__(self, network: RecognitionNet | None = None) -> None:
        """Take a network, or load dlib's."""
        loaded = network or load_recognition_net(RecognitionOptions("dlib"))[0]
        assert loaded is not None
        self._network = loaded

    @torch.inference_mode()
    def distances(
        self,
        images: Float[Tensor, "batch 3 height width"],
        landmarks_px: Float[Tensor, "batch 68 2"],
    ) -> Float[Tensor, "batch batch"]:
        """Of every face from every other.

        Args:
            images: crops in [0, 1].
            landmarks_px: continuous pixels (origin "centre").
        """
        network = self._network.to(images.device)
        points = to_index(five_from_68(landmarks_px), "centre")
        features = network(images, estimate_similarity(points, network.template))
        rows = [network.distance(row.expand_as(features), features) for row in features]
        return torch.stack(rows)

    def strangers(
        self,
        images: Float[Tensor, "batch 3 height width"],
        landmarks_px: Float[Tensor, "batch 68 2"],
    ) -> list[float | None]:
        """Median distance of each face from the others where it is very likely another person's."""
        every = self.distances(images, landmarks_px)
        count = len(every)
        if count < 2:
            return [None] * count
        others = every[~torch.eye(count, dtype=torch.bool, device=every.device)]
        medians = others.reshape(count, count - 1).quantile(0.5, dim=1).tolist()
        return [median if median > STRANGER_DISTANCE else None for median in medians]
