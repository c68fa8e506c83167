"""A fitted video as a page that opens by double click: `<stem>_report.html` (docs/report.md).

As the report of a face it is one file that loads nothing, with one exception: the side-by-side
video beside it, which a page may show by its name, and which runs in step with the head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.video import VideoReader
from data.video_plan import frame_runs
from models.face_model import FaceModel
from models.landmarks import normalised_error
from models.parameters import Coefficients
from options.record import git_commit
from util.atomic import write_text
from util.mesh_files.face_gltf import unit_strengths
from util.reports.report_parts import (
    REPORT_ENDING,
    WITH_VIDEO,
    escaped,
    file_items,
    fill,
    head,
    jpeg_bytes,
    jpeg_uri,
    link,
    part,
    script,
    script_json,
    table_rows,
    versions,
    warning_card,
)
from util.reports.video_report_data import pack_video, shown_frames
from util.videos.video_fitting import VideoFit
from util.videos.video_results import VideoReport, VideoResults

PAGE_BYTES = 4_000_000
"""What a page may weigh; one of ten seconds has about a third of it."""
CURVE_POINTS = 1500
"""Of a longer video, curves show every n-th frame."""
UNIT_CURVES = 5
"""Named units whose strengths are drawn: those that move most."""
MOST_THUMBS, THUMB_PX = 24, 128

_FILES = {
    "_fit.mp4": "input, overlay, geometry",
    ".npz": "coefficients, cameras, landmarks of each frame",
    ".mat": "the same",
    ".glb": "animated head",
    "_mesh": "a mesh for each frame",
    "_report.json": "the numbers",
}


class VideoReportWriter:
    """Writes the page of one fitted video."""

    def __init__(
        self,
        face_model: FaceModel,
        fit: VideoFit,
        results: VideoResults,
        report: VideoReport,
        flags: Mapping[str, Any],
    ) -> None:
        """Take what is shown.

        Args:
            face_model: of the fit, on the CPU.
            fit: of the video.
            results: that have written it.
            report: how good the fit is.
            flags: of the command, as they stood.
        """
        self._model, self._fit = face_model, fit
        self._results, self._report, self._flags = results, report, flags
        self._shown = shown_frames(fit.found)
        self._step = int(np.diff(self._shown[:2]).sum()) or 1
        self._times = fit.times_s - fit.times_s[0]

    def write(self, stem: Path, reader: VideoReader) -> None:
        """Write `<stem>_report.html`, after the video's other files: it links those that are there.

        Args:
            stem: of the files.
            reader: of the video, for pictures of its key frames.

        Raises:
            ValueError: a number is not finite; nothing is written.
            OSError: no space, no permission.
        """
        text = self.page(stem, self._thumbs(reader))
        write_text(stem.with_name(stem.name + REPORT_ENDING), text)

    def page(self, stem: Path, thumbs: Mapping[int, bytes]) -> str:
        """The page as text.

        Args:
            stem: of the files that it links.
            thumbs: number of a key frame -> its picture as JPEG.
        """
        info, card, step = self._fit.info, self._model.card, self._step
        files = {
            stem.name + ending: what
            for ending, what in _FILES.items()
            if stem.with_name(stem.name + ending).exists()
        }
        side = f"{stem.name}_fit.mp4"
        seconds = float(self._times[-1])
        data = self._data(seconds)
        subtitle = (
            f"3D face of the model {card.name} {card.version}, followed through "
            f"{len(self._times)} frames ({seconds:.1f} s)"
        )
        if step > 1:
            subtitle += f"; every {_ordinal(step)} frame is shown here"
        hidden = " hidden"
        return fill(
            {
                "title": escaped(info.path.name),
                "subtitle": escaped(subtitle),
                "head": head(info.path.name, policy=WITH_VIDEO),
                "warnings": warning_card(self._warnings()),
                "last": str(len(self._shown) - 1),
                "ruler": self._ruler(seconds),
                "legend": self._legend(),
                "side": link(side) if side in files else "",
                "no_side": "" if side in files else hidden,
                "side_note": "Input, overlay, geometry: "
                f'<a href="{link(side)}">{escaped(side)}</a>, shown while it lies beside this page',
                "no_keys": "" if thumbs else hidden,
                "thumbs": self._thumb_buttons(thumbs),
                "numbers": table_rows(self._numbers(seconds, data["mesh"]["shapes"]["error_mm"])),
                "used": table_rows(self._used()),
                "files": file_items(files),
                "data": script_json(stem.name, data),
                "common": script(part("common.js")),
                "viewer": script(part("viewer.js")),
                "charts": script(part("charts.js")),
                "script": script(part("video.js")),
            },
            "video.html",
        )

    def _data(self, seconds: float) -> dict[str, Any]:
        """What video.js reads."""
        found = self._fit.found
        _, faces = self._results.in_one_camera(self._shown[found[self._shown]])
        points = shown_frames(found, CURVE_POINTS)
        return {
            **pack_video(self._model, faces, found[self._shown], self._times[self._shown]),
            "first": int(self._shown[0]),
            "step": self._step,
            "seconds": round(seconds, 4),
            "cuts": [round(float(self._times[cut]), 4) for cut in self._fit.cuts if cut],
            "gaps": [[round(a, 4), round(b, 4)] for a, b in self._gaps()],
            "curve_times": self._times[points].round(4).tolist(),
            "curves": list(self._curves(points)),
        }

    def _curves(self, points: np.ndarray) -> Iterator[dict[str, Any]]:
        """Curves over the frames `points`: title, unit and lines; None where there is no face."""
        fit = self._fit
        here = fit.found[points]
        inner, _ = normalised_error(
            torch.from_numpy(self._results.landmarks[points[here]]),
            torch.from_numpy(fit.landmarks[points[here]]),
        )
        split = self._model.layout.split(torch.from_numpy(fit.coefficients[points[here]]))

        def curve(title: str, unit: str, lines: Mapping[str, np.ndarray]) -> dict[str, Any]:
            return {"title": title, "unit": unit, "lines": [*map(line, lines.items())]}

        def line(named: tuple[str, np.ndarray]) -> tuple[str, list[float | None]]:
            values = np.full(len(points), np.nan)
            values[here] = named[1]
            return named[0], [None if math.isnan(v) else float(f"{v:.4g}") for v in values]

        yield curve("Landmark error", " %", {"": 100 * inner.numpy()})
        yield curve("Colour error", "", {"": fit.photo[points[here]]})
        degrees = np.degrees(split.angles_rad.numpy())
        yield curve("Head", "°", dict(zip(("pitch", "yaw", "roll"), degrees.T, strict=True)))
        if strengths := self._strongest_units(split):
            yield curve("Expression units that move most", "", strengths)

    def _strongest_units(self, faces: Coefficients) -> dict[str, np.ndarray]:
        """The named units that change most, with their strengths in the frames."""
        names = self._model.unit_names
        if not names:
            return {}
        strengths = unit_strengths(self._model, faces.expression)
        most = np.argsort(-strengths.std(axis=0), kind="stable")[:UNIT_CURVES]
        return {names[unit]: strengths[:, unit] for unit in most if strengths[:, unit].any()}

    def _gaps(self) -> list[tuple[float, float]]:
        """First time without a face, and the first with one again, of each such run."""
        times, count = self._times, len(self._times)
        return [
            (float(times[run[0]]), float(times[min(run[-1] + 1, count - 1)]))
            for run in frame_runs(~self._fit.found)
        ]

    def _nearest(self, number: int) -> int:
        """Which of the shown frames is nearest to a frame."""
        return int(np.abs(self._shown - number).argmin())

    def _ruler(self, seconds: float) -> str:
        """A strip below the scrubber: frames with a face, gaps, cuts, key frames."""

        def place(time: float) -> float:
            return round(1000 * time / max(seconds, 1e-9), 1)

        marks = ['<rect class="face" width="1000" height="4" y="4" rx="2"/>']
        for begin, end in self._gaps():
            width = max(place(end) - place(begin), 2)
            marks.append(f'<rect class="gap" x="{place(begin)}" width="{width}" height="4" y="4"/>')
        for key in self._fit.key_frames:
            at = place(float(self._times[key])) - 2
            marks.append(f'<rect class="key" x="{at}" width="4" height="8" y="2"/>')
        for cut in filter(None, self._fit.cuts):
            marks.append(f'<path class="cut" d="M{place(float(self._times[cut]))} 0V12"/>')
        return (
            '<svg class="ruler" viewBox="0 0 1000 12" preserveAspectRatio="none" '
            f'aria-hidden="true">{"".join(marks)}</svg>'
        )

    def _legend(self) -> str:
        marks = []
        if not self._fit.found.all():
            marks.append("Orange: no face.")
        if any(self._fit.cuts):
            marks.append("Upright dotted lines: cuts.")
        return " ".join(marks)

    def _warnings(self) -> Iterator[str]:
        report = self._report
        missing = report.frames - report.frames_with_face
        if missing:
            runs = ", ".join(f"{a}–{b}" if a < b else f"{a}" for a, b in report.without_face[:8])
            more = ", …" if len(report.without_face) > 8 else ""
            yield f"No face in {missing} of {report.frames} frames: {runs}{more}"
        yield from filter(None, (report.clock, report.damage, report.audio))

    def _numbers(self, seconds: float, shown_mm: float) -> Iterator[tuple[str, str]]:
        report, info = self._report, self._fit.info
        frames = len(self._times)
        rate = (frames - 1) / seconds if seconds > 0 else 0.0
        yield "Video", f"{info.width} × {info.height} px, {rate:.4g} a second"
        yield "Frames with a face", f"{report.frames_with_face} of {report.frames}"
        yield "Inner landmarks off by", f"{100 * report.nme_inner:.1f} % of the outer-eye distance"
        yield "Colours of the skin off by", f"{report.photo_error:.3f} (RGB in 0 to 1)"
        yield "Jitter of detected landmarks", f"{report.jitter_given_px:.2f} px"
        yield "Jitter before smoothing", f"{report.jitter_tracked_px:.2f} px"
        yield "Jitter of the fit", f"{report.jitter_px:.2f} px"
        yield "Focal length", f"{report.focal_px:.0f} px of a crop of 224"
        yield "Cuts", str(sum(map(bool, report.cuts)))
        yield "Heads of this page off by", f"at most {shown_mm:.2f} mm, and rounding"

    def _used(self) -> Iterator[tuple[str, str]]:
        card = self._model.card
        yield "Face model", str(card)
        yield "Its licence", card.licence
        yield "Identity from", f"{len(self._fit.key_frames)} key frames"
        yield "Command", "fit.py"
        yield "Options", " ".join(f"--{name} {value}" for name, value in self._flags.items())
        yield "Program", f"commit {git_commit()}"
        yield "Versions", versions()

    def _thumbs(self, reader: VideoReader) -> dict[int, bytes]:
        """The face of each key frame as a small JPEG."""
        keys = sorted(self._fit.key_frames)
        keys = keys[:: max(1, -(-len(keys) // MOST_THUMBS))]
        made = {}
        for frame in reader.read(keys):
            crop = self._fit.crops[frame.number]
            if crop is not None:
                made[frame.number] = jpeg_bytes(crop.crop_image(frame.image), THUMB_PX, 72)
        return made

    def _thumb_buttons(self, thumbs: Mapping[int, bytes]) -> str:
        return "".join(
            f'<button type="button" data-seek="{self._nearest(number)}" '
            f'aria-label="Go to key frame {number}"><img src="{jpeg_uri(content)}" '
            f'alt="The face in frame {number}">{number}</button>'
            for number, content in thumbs.items()
        )


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else endings.get(number % 10, 'th')}"
