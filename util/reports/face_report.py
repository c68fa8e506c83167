"""One face as a page that opens by double click: `<stem>_report.html` (docs/report.md).

Everything is in the one file, since a page that was opened from a folder may load nothing from
beside it: pictures and mesh as base64, styles and scripts of `report_page/` as they are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.face_model import FaceModel
from options.flags import ParsedOptions
from util.atomic import write_text
from util.mesh_files.textured_mesh import material_stem
from util.outputs import NamedOutput
from util.outputs.output import Output
from util.photos.face_result import FaceResult
from util.photos.number_files import number_files
from util.photos.results import OVERLAY_ENDING, SummaryRow, face_files
from util.reports.report_data import MeshPacker
from util.reports.report_parts import (
    ABOUT_WEAK,
    REPORT_ENDING,
    about,
    escaped,
    file_items,
    fill,
    head,
    jpeg_bytes,
    jpeg_uri,
    part,
    script,
    script_json,
    table_rows,
    warning_card,
)
from util.reports.reported_run import ReportedRun

PAGE_BYTES = 1_000_000
"""More than this, and pictures become smaller."""
TEXTURE_ENDING = "_textured.png"
"""Of the face's texture, where an output writes one; the viewer then shows it too."""
_DOT = 1.3 / 224
"""Radius of a landmark over the side of the crop."""
PICTURE_STEPS = ((880, 82), (720, 75), (560, 68), (420, 60))
"""Longer side of the photo and JPEG quality, tried in turn."""
OVERLAY_FILES = {OVERLAY_ENDING: "whole photo"}
"""Of a whole photo, where `--photo_overlay` is on."""
_ABOUT_COLOURS = (
    "Colours are the photo's, with its light, where it shows the surface; elsewhere, and inside "
    "the mouth, those of the face model's mean in their tone. Neither light nor albedo was "
    "predicted."
)


class DrawnPhoto:
    """A photo and the faces over it, drawn when first asked for, by whichever thread."""

    def __init__(self, photo: np.ndarray, draw: Callable[[], np.ndarray]) -> None:
        """Keep the photo (H, W, 3) uint8 and what lays the faces over it."""
        self.photo = photo
        self._draw = draw
        self._lock = threading.Lock()
        self._overlay: np.ndarray | None = None

    def overlay_or_none(self) -> np.ndarray | None:
        """The overlay; None where it cannot be drawn, as the summary then says."""
        try:
            return self.overlay()
        except ValueError:
            return None

    def overlay(self) -> np.ndarray:
        """(H, W, 3) uint8, the same size."""
        with self._lock:
            if self._overlay is None:
                self._overlay = self._draw()
            return self._overlay


@dataclass(frozen=True)
class ReportSource:
    """What reports of one run say beside the face."""

    run: ReportedRun
    photo_files: Mapping[str, str] = field(default_factory=dict)
    """Endings of files of the whole photo, and what they hold."""
    outputs: tuple[Output, ...] = ()
    """That write more of each face."""
    with_texture: bool = False
    """Whether `<stem>_textured.png` is among it."""

    @classmethod
    def of(
        cls,
        command: str,
        options: ParsedOptions,
        outputs: Sequence[NamedOutput] = (),
        *,
        photo_files: Mapping[str, str],
        network: Mapping[str, str] | None = None,
        told: Collection[str] = (),
    ) -> ReportSource:
        """Of a run and its outputs; arguments as those of `ReportedRun.of`."""
        run = ReportedRun.of(command, options, network=network, told=told)
        made = tuple(each.output for each in outputs)
        textured = any(TEXTURE_ENDING in output.endings for output in made)
        return cls(run, photo_files, made, textured)


@dataclass(frozen=True)
class ShownFace:
    """A report, and those of its parts that other pages show too."""

    subtitle: str
    """HTML: which model's face, and whether it was fitted."""
    body: str
    """HTML of `face.html`."""
    data: str
    """JSON that `showFace` of face.js reads."""
    page: str
    """The whole report."""


class ReportWriter:
    """Writes reports of the faces of one face model; its methods may run in threads."""

    def __init__(self, face_model: FaceModel, source: ReportSource) -> None:
        """Prepare what all pages share."""
        self._mesh = MeshPacker(face_model)
        self._corners = face_model.landmark_embedding.vertices.cpu().numpy()
        self._weights = face_model.landmark_embedding.barycentrics.cpu().numpy()
        self._source = source

    def write(
        self, folder: Path, face: FaceResult, row: SummaryRow, photo: DrawnPhoto, photo_stem: str
    ) -> None:
        """Write `<stem>_report.html`, after the face's other files: it shows its texture.

        Args:
            folder: of the results.
            face: to show.
            row: its summary.
            photo: that it comes from.
            photo_stem: name of the photo's overlay, without its ending.

        Raises:
            ValueError: a number is not finite; nothing is written.
            OSError: no space, no permission.
        """
        page = self.page(face, row, photo, photo_stem, self.texture_png(folder, face))
        write_text(folder / f"{face.stem}{REPORT_ENDING}", page, escaped=True)

    def texture_png(self, folder: Path, face: FaceResult) -> bytes | None:
        """The texture that an output has written of a face; None where there is none."""
        texture = folder / f"{material_stem(f'{face.stem}_textured')}.png"
        return texture.read_bytes() if self._source.with_texture and texture.is_file() else None

    def page(
        self,
        face: FaceResult,
        row: SummaryRow,
        photo: DrawnPhoto,
        photo_stem: str,
        texture_png: bytes | None = None,
    ) -> str:
        """The page as text; arguments as those of `write`, and the face's texture."""
        return self.show(face, row, photo, photo_stem, texture_png).page

    def show(
        self,
        face: FaceResult,
        row: SummaryRow,
        photo: DrawnPhoto,
        photo_stem: str,
        texture_png: bytes | None = None,
    ) -> ShownFace:
        """The page and its parts; arguments as those of `page`."""
        name = face.photo.name
        number = f", face {face.number}" if face.number > 1 else ""
        subtitle = escaped(
            f"3D face of the model {face.face_model.name} {face.face_model.version}, "
            f"{'fitted to' if face.fit else 'predicted from'} the photo"
        )
        mesh = self._mesh.pack(face)
        # Most of the page, and the same however small its pictures become.
        shared = script_json(face.stem, {"points": _points(face), "mesh": mesh})
        json_text = body = page = ""
        for longest_px, quality in PICTURE_STEPS:
            pictures = _pictures(face, photo, longest_px, quality)
            texture = self._mesh.pack_texture(texture_png, quality)
            json_text = f'{shared[:-2]},"texture":{script_json(face.stem, texture)}}}}}'
            shown = {"mesh": {**mesh, "texture": texture}}
            body = self._body(face, row, photo_stem, shown, pictures)
            page = fill(
                {
                    "title": escaped(f"{name}{number}"),
                    "subtitle": subtitle,
                    "head": head(f"{name}{number}"),
                    "face": body,
                    "data": json_text,
                    "common": script(part("common.js")),
                    "viewer": script(part("viewer.js")),
                    "script": script(part("face.js") + part("page.js")),
                }
            )
            if len(page) <= 0.99 * PAGE_BYTES:
                break
        return ShownFace(subtitle, body, json_text, page)

    def _body(
        self,
        face: FaceResult,
        row: SummaryRow,
        photo_stem: str,
        data: Mapping[str, Any],
        pictures: Mapping[str, tuple[str, str]],
    ) -> str:
        """What `face.html` shows."""
        textured = bool(data["mesh"]["texture"])
        return fill(
            {
                "warnings": _warnings(face, row),
                "tabs": "".join(
                    f'<button type="button" data-show="{key}">{label}</button>'
                    for key, (label, _) in pictures.items()
                ),
                "figures": "".join(figure for _, figure in pictures.values()),
                "no_units": "" if data["mesh"]["units"]["names"] else " hidden",
                "numbers": table_rows(self._numbers(face, row)),
                "about_numbers": about(ABOUT_WEAK if face.camera.kind == "weak" else ""),
                "about_colours": about(_ABOUT_COLOURS if face.light is None else ""),
                "no_light": " hidden" if face.light is None else "",
                "no_colours": "" if face.light is None else " hidden",
                "energies": _energies(face),
                "used": table_rows(self._used(face)),
                "files": self._files(face, photo_stem),
                "no_texture": "" if textured else " hidden",
                # As viewer.js begins.
                "texture_first": "true" if textured else "false",
                "plain_first": "false" if textured else "true",
            },
            "face.html",
        )

    def _numbers(self, face: FaceResult, row: SummaryRow) -> Iterable[tuple[str, str]]:
        points = (face.vertices[self._corners] * self._weights[:, :, None]).sum(axis=1)
        pitch, yaw, roll = (math.degrees(a) for a in face.coefficients.angles_rad[0].tolist())
        width, height = face.alignment.photo_size
        numbers: list[tuple[str, float | None, str]] = [
            ("Pitch", pitch, "{:.1f}°"),
            ("Yaw", yaw, "{:.1f}°"),
            ("Roll", roll, "{:.1f}°"),
        ]
        if face.camera.kind == "weak":
            pixels_a_cm = float(face.camera.pixels_a_dm.mean()) / 10
            numbers.append(("Scale of the face", pixels_a_cm, "{:.1f} px a centimetre"))
        else:
            distance_cm = 10 * float(np.linalg.norm(face.camera.t))
            numbers.append(("Distance from the camera", distance_cm, "{:.1f} cm"))
            numbers.append(("Focal length", float(face.camera.K[0, 0]), "{:.0f} px"))
        numbers.append(("Scale of the crop", face.alignment.scale, "{:.3f} of the photo"))
        if len(points) == 68:
            across = [
                ("Face width at the jaw's ends", 0, 16),
                ("Between outer eye corners", 36, 45),
            ]
            numbers += [
                (what, 100 * float(np.linalg.norm(points[a] - points[b])), "{:.1f} mm")
                for what, a, b in across
            ]
        for what, share in (
            ("Inner landmarks off by", row.nme_inner),
            ("Jaw landmarks off by", row.nme_jaw),
            ("Inner ones of the mean face", row.nme_inner_mean_face),
        ):
            percent = None if share is None else 100 * share
            numbers.append((what, percent, "{:.1f} % of the outer-eye distance"))
        yield "Photo", f"{width} × {height} px"
        for what, value, form in numbers:
            if value is not None and math.isfinite(value):
                yield what, form.format(value)

    def _used(self, face: FaceResult) -> Iterable[tuple[str, str]]:
        card = face.face_model
        yield "Face model", str(card)
        yield "Its licence", card.licence or "unknown"
        if face.fit is not None:
            fit = face.fit
            how = " ".join(filter(None, (fit.solver.replace("_", "-"), fit.preset)))
            yield "Fit", f"{how}, from {fit.init}, {fit.seconds:.2f} s"
            if fit.faces_together > 1:
                yield "Identity shared by", f"{fit.faces_together} faces"
        yield from self._source.run.rows()

    def _files(self, face: FaceResult, photo_stem: str) -> str:
        names = {f"{face.stem}{ending}": what for ending, what in face_files(face).items()}
        for name in number_files(face).names(face.stem):  # a map's, which the mesh names
            names.setdefault(name, "of the mesh")
        for output in self._source.outputs:
            names |= output.contents(face.stem)
        photo_files = self._source.photo_files
        names |= {f"{photo_stem}{ending}": what for ending, what in photo_files.items()}
        names |= {"summary.csv": "all faces", "index.html": "contact sheet"}
        return file_items(names)


def _warnings(face: FaceResult, row: SummaryRow) -> str:
    found: Sequence[str] = face.fit.warnings if face.fit is not None else ()
    return warning_card(found or tuple(filter(None, [row.message])))


def _energies(face: FaceResult) -> str:
    """A table of the fit's stages, terms in columns; nothing for a prediction."""
    if face.fit is None:
        return ""
    stages = face.fit.stages
    terms = list(dict.fromkeys(term for stage in stages for term in stage.terms))
    head = "".join(f"<th scope='col'>{escaped(s.name.replace('_', ' '))}</th>" for s in stages)
    lines = [
        ("steps", [f"{s.steps}{'' if s.converged else '…'}" for s in stages]),
        ("before", [_energy(s.energy_before) for s in stages]),
        ("after", [_energy(s.energy_after) for s in stages]),
        *((term, [_energy(s.terms.get(term)) for s in stages]) for term in terms),
    ]
    if any(s.trust != 1 for s in stages):
        lines.append(("photo trusted, times", [_energy(s.trust) for s in stages]))
    body = "".join(
        f"<tr><th scope='row'>{escaped(name.replace('_', ' '))}</th>"
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
        for name, cells in lines
    )
    note = "" if all(s.converged for s in stages) else "…: ended by the number of steps. "
    return (
        "<section class='card'><h2>Energies of the fit</h2><div class='scroll'>"
        f"<table><tr><th scope='col'>stage</th>{head}</tr>{body}</table></div>"
        f"<p class='soft'>{note}Terms are weighted, at the end of their stage.</p></section>"
    )


def _energy(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _points(face: FaceResult) -> dict[str, Any]:
    """Landmarks over the pictures: continuous pixels, with the radius of a dot."""
    side = face.alignment.crop_px
    width, height = face.alignment.photo_size
    given = face.given_landmarks_index
    none = np.zeros((0, 2))
    radius = _DOT * side
    return {
        "photo": {
            "size": [width, height],
            # A dot is as large as in the crop, but never lost in a large photo.
            "radius": max(radius / face.alignment.scale, max(width, height) / 400),
            "given": _rounded(none if given is None else face.in_photo(given)),
            "predicted": _rounded(face.in_photo(face.landmarks_index)),
        },
        "crop": {
            "size": [side, side],
            "radius": radius,
            "given": _rounded(none if given is None else given + 0.5),
            "predicted": _rounded(face.landmarks_index + 0.5),
        },
    }


def _rounded(points: np.ndarray) -> list[list[float]]:
    return np.asarray(points, np.float64).round(2).tolist()


def _pictures(
    face: FaceResult, photo: DrawnPhoto, longest_px: int, quality: int
) -> dict[str, tuple[str, str]]:
    """Key -> label and figure."""
    crop = fit = None
    if face.picture is not None:
        side = face.picture.shape[0]
        crop, fit = face.picture[:, :side], face.picture[:, side : 2 * side]
    shown = {
        "photo": ("Photo", photo.photo, "The photo", "photo"),
        "overlay": ("Overlay", photo.overlay_or_none(), "The 3D face laid over the photo", "photo"),
        "crop": ("Crop", crop, "The aligned crop of the face", "crop"),
        "fit": ("Crop, overlaid", fit, "The 3D face laid over the crop", "crop"),
    }
    made = {
        key: (label, _figure(key, _source(picture, longest_px, quality), caption, points))
        for key, (label, picture, caption, points) in shown.items()
        if picture is not None
    }
    if face.views is not None:
        caption = "Photo, fit, and the fit turned"
        made["views"] = (
            "Views",
            _figure("views", _source(face.views, 2 * longest_px, quality), caption, ""),
        )
    return made


def _figure(key: str, source: str, caption: str, points: str) -> str:
    dots = f'<svg class="points" data-points="{points}" aria-hidden="true"></svg>' if points else ""
    hidden = "" if key == "photo" else " hidden"
    return (
        f'<figure data-picture="{key}"{hidden}><div class="picture">'
        f'<img src="{source}" alt="{caption}">{dots}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _source(picture: np.ndarray, longest_px: int, quality: int) -> str:
    return jpeg_uri(jpeg_bytes(picture, longest_px, quality))
