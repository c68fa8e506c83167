"""The demos of SynergyNet: the same commands, photos and names of files; ours underneath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.images import write_image
from data.photo_folder import Photo, PhotoFolder
from models.pixel_view import PixelView
from options.data_options import DetectionOptions
from options.face_options import FaceModelOptions
from options.flags import ParsedOptions
from options.output_options import NONE, OutputOptions
from options.public_synergy import PublicDemoOptions, PublicReportOptions
from options.synergy_options import SynergyTestOptions
from util.errors import InputError
from util.mesh_files.textured_mesh import (
    TexturedPart,
    nearest_colours,
    read_map,
    textured_part,
    write_public_obj,
    write_textured_obj,
)
from util.photos.photo_run import in_words
from util.photos.results import ResultWriter, SummaryRow
from util.reports.reported_run import ReportedRun
from util.synergy.synergy_faces import (
    OVERLAY_ALPHA,
    SynergyResult,
    draw_axes,
    draw_landmarks,
    draw_meshes,
    predict_faces,
    y_up,
)
from util.synergy.synergy_photos import (
    FaceWriter,
    face_crops,
    find_photos,
    report_writer,
    whole_photos,
)
from util.synergy.synergy_reconstruction import SynergyReconstruction
from util.synergy.synergy_trained import TrainedSynergy, load_trained_synergy
from util.synergy.synergy_video import follow_video

ROOT = Path("inference_output")
REAL_SUFFIX = "_real_A"
"""Of the photos of uv_texture_realFaces.py, which are 256 px crops."""


@dataclass(frozen=True)
class Demo:
    """What the demos share."""

    trained: TrainedSynergy
    options: ParsedOptions

    @classmethod
    def of(cls, options: ParsedOptions) -> Demo:
        """Load the network.

        Raises:
            InputError: no network, or no triangles for its meshes.
        """
        trained = load_trained_synergy(options)
        trained.need_triangles()
        return cls(trained, options)

    def photos(self, *, whole: bool = False) -> Iterator[Photo]:
        """The photos that -f names, with their faces; or without, where they are crops.

        Raises:
            InputError: at once where -f names no photo; at the end where none gave a face, and
                then the message says why.
        """
        chosen = self.options[PublicDemoOptions]
        path, detection = Path(chosen.files), self.options[DetectionOptions]
        folder = find_photos(self.trained, path, detection, all_faces=True)
        ending = (".png",) if chosen.png else (".jpg", ".jpeg")
        wanted = range(len(folder))
        if path.is_dir():
            wanted = [k for k in wanted if folder.paths[k].suffix.lower() in ending]
            if not wanted:
                other = "leave --png out" if chosen.png else "give --png for .png files"
                raise InputError(f"-f {chosen.files} has no {ending[0]} files; {other}")
            wanted = wanted[: chosen.num_img or None]
        return self._found(folder, wanted, whole)

    def _found(self, folder: PhotoFolder, wanted: Sequence[int], whole: bool) -> Iterator[Photo]:
        """Those of the chosen photos that have faces; the others are named."""
        done, problems = 0, []
        for k in tqdm(wanted, unit="photo"):
            photo = next(iter(whole_photos(folder, [k]))) if whole else folder[k]
            for failed in photo.failures:
                problems.append(
                    in_words(
                        SummaryRow(
                            str(failed.path), "failed", failed.number, message=failed.problem
                        )
                    )
                )
                tqdm.write(problems[-1])
            if photo.preview is not None:
                done += 1
                yield photo
        if not done:
            raise InputError("; ".join(problems[:3]))

    def faces(self, photo: Photo) -> list[SynergyResult]:
        """All faces of a photo."""
        assert photo.preview is not None
        crops = face_crops(photo, self.trained.network.meaning.image_px)
        return predict_faces(self.trained, photo.preview, crops)

    def view(self) -> PixelView:
        """Draws whole meshes."""
        face = self.trained.network.face
        return PixelView(face.triangles.cpu().numpy(), face.vertex_count)

    def part(self) -> TexturedPart:
        """What of a mesh is textured."""
        return textured_part(self.trained.network.face, self.trained.mm_folder)


def single_image(options: ParsedOptions) -> int:
    """singleImage.py: mesh, landmarks and axes of all faces over each photo; pages of the faces.

    Returns:
        How many photos.
    """
    demo = Demo.of(options)
    view, count = demo.view(), 0
    photos = demo.photos()  # refused before the writer makes its folder
    with _page_writer(demo) as write_pages:
        for photo in photos:
            faces, image = demo.faces(photo), photo.preview
            assert image is not None
            meshes = [face.vertices for face in faces]
            alone = view.draw_over(np.zeros_like(image), meshes, [view.shaded(m) for m in meshes])
            name = photo.stem
            overlay = draw_meshes(image, faces, view)
            write_image(ROOT / "rendering_overlay" / f"{name}.jpg", overlay)
            write_image(ROOT / "rendering_overlay" / f"{name}_solid.png", alone)
            write_image(ROOT / "landmarks" / f"{name}.jpg", draw_landmarks(image, faces))
            write_image(ROOT / "poses" / f"{name}.jpg", draw_axes(image, faces))
            if write_pages is not None:
                write_pages(photo, faces)
            count += 1
    return count


@contextmanager
def _page_writer(demo: Demo) -> Iterator[FaceWriter | None]:
    """Writes what `test.py` writes of each face, with its page, into `faces/`; None without."""
    options = demo.options
    if not options[PublicReportOptions].report:
        yield None
        return
    trained, kinds = demo.trained, OutputOptions(save=(NONE,))
    made = SynergyReconstruction(trained.network.face, options[FaceModelOptions], kinds)
    reports = report_writer(trained, made, "singleImage.py", options, {})
    with ResultWriter(ROOT / "faces", options=kinds) as writer:
        yield FaceWriter(trained, writer, SynergyTestOptions(draw=False), made, reports)


def single_video(options: ParsedOptions) -> None:
    """singleImage.py with a video: what `test.py` writes of one, into `videos/`."""
    demo = Demo.of(options)
    run = ReportedRun.of("singleImage.py", options, network=demo.trained.said, told=("weights",))
    path, page = Path(options[PublicDemoOptions].files), options[PublicReportOptions].report
    follow_video(demo.trained, options, run, path, ROOT / "videos", draw=True, page=page)


def artistic(options: ParsedOptions) -> int:
    """artistic.py: meshes of each photo with the map uv_art/NAME_fake_B.png.

    The largest face is NAME, the others NAME_2, NAME_3 and so on; all get the same map.
    """
    demo = Demo.of(options)
    part, count = demo.part(), 0
    for photo in demo.photos():
        texture = read_map(Path("uv_art"), (f"{photo.stem}_fake_B.png",))
        for number, face in enumerate(demo.faces(photo), start=1):
            name = photo.stem if number == 1 else f"{photo.stem}_{number}"
            write_both(ROOT / "obj", name, face, part, texture)
        count += 1
    return count


def real_faces(options: ParsedOptions) -> int:
    """uv_texture_realFaces.py: crops NAME_real_A with the map texture_data/uv_real/NAME_fake_B."""
    demo = Demo.of(options)
    part, count = demo.part(), 0
    view = PixelView(part.triangles, len(part.vertices))
    for photo in demo.photos(whole=True):
        name = photo.path.stem.removesuffix(REAL_SUFFIX)
        texture = read_map(Path("texture_data/uv_real"), (f"{name}_fake_B.png",))
        (face,) = demo.faces(photo)
        assert photo.preview is not None
        write_both(ROOT / "obj", name, face, part, texture)
        colours = nearest_colours(texture, part.vertex_uv) / 255
        mesh = face.vertices[part.vertices]
        drawn = view.draw_over(photo.preview, [mesh], [view.shaded(mesh, colours)], OVERLAY_ALPHA)
        write_image(ROOT / "rendering_overlay" / f"{name}.jpg", drawn)
        count += 1
    return count


def write_both(
    folder: Path, name: str, face: SynergyResult, part: TexturedPart, texture: np.ndarray
) -> None:
    """NAME.obj as the public code has it; NAME_textured.obj, .mtl, .png with the map itself.

    The public one counts rows of the photo downwards, so that it stands on its head in viewers;
    ours stands upright.
    """
    vertices = face.vertices[part.vertices]
    # The public code scales label coordinates, whose first pixel's centre is 1, to the photo.
    public = vertices + np.append(face.crop.scales / 2, 0)
    colours = nearest_colours(texture, part.vertex_uv)
    write_public_obj(folder / f"{name}.obj", public, part.triangles, colours)
    parts = part.triangles, part.uv, part.uv_triangles
    upright = y_up(vertices, face.crop.photo_size[1])
    write_textured_obj(folder / f"{name}_textured.obj", upright, *parts, texture)
