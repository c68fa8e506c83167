"""The focal length as a further unknown: one for all faces that are fitted together.

While it is looked for, the camera zooms about the faces (`Camera.zoomed`): a longer focal length
comes with a longer distance, so that a step changes nothing but the perspective. Without that, the
focal length and the depth of every face would have to change together, along a curve. A fit ends
with the camera back where it was, which moves the faces in place of it.
"""

from __future__ import annotations

from dataclasses import replace

from models.camera import Camera
from models.parameters import Coefficients, ParameterBlock, ParameterLayout

FOCAL = "log_focal"
"""Block of coefficients."""
LARGEST = 1.5
"""Largest logarithm of the focal length over the given one: between a fifth and 4.5 times it."""


def with_focal(layout: ParameterLayout) -> ParameterLayout:
    """A layout that ends with the logarithm of the focal length."""
    return ParameterLayout((*layout.blocks, ParameterBlock(FOCAL, 1, "log")))


def camera_of(camera: Camera, coefficients: Coefficients) -> Camera:
    """The camera that sees faces: the given one, zoomed where the focal length is free."""
    if coefficients.log_focal is None:
        return camera
    # Beyond it, a wild step would put the camera into the face, or overflow.
    return camera.zoomed(min(max(float(coefficients.log_focal[0, 0]), -LARGEST), LARGEST))


def start_focal(coefficients: Coefficients) -> Coefficients:
    """The same faces, before the given camera, whose focal length may now change."""
    return replace(coefficients, log_focal=coefficients.translation_dm[:, :1] * 0)


def settle_focal(camera: Camera, coefficients: Coefficients) -> tuple[Camera, Coefficients]:
    """The camera that was found, where the given one is, and the faces as far from it as they were.

    Returns:
        The camera; coefficients without the focal length.
    """
    if coefficients.log_focal is None:
        return camera, coefficients
    zoomed = camera_of(camera, coefficients)
    shift = coefficients.translation_dm.new_tensor([0, 0, camera.distance_dm - zoomed.distance_dm])
    settled = replace(
        coefficients, translation_dm=coefficients.translation_dm + shift, log_focal=None
    )
    return replace(zoomed, distance_dm=camera.distance_dm), settled
