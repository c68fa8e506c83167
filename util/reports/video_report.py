"""A followed face as a page that opens by double click: `<stem>_report.html` (docs/report.md).

As the report of a face it is one file that loads nothing, with one exception: the side-by-side
video beside it, which a page may show by its name, and which runs in step with the head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.video import VideoReader
from data.video_plan import frame_runs
from models.landmarks import normalised_error
from models.parameters import Coefficients
from util.atomic import write_text
from util.mesh_files.face_gltf import unit_strengths
from util.reports.report_parts import (
    ABOUT_WEAK,
    REPORT_ENDING,
    WITH_VIDEO,
    about,
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
    warning_card,
)
from util.reports.reported_run import ReportedRun
from util.reports.video_report_data import pack_video, shown_frames
from util.videos.video_measures import VideoMeasures, VideoReport

PAGE_BYTES = 4_000_000
"""What a page may weigh; one of ten seconds has about a third of it."""
CURVE_POINTS = 1500
"""Of a longer video, curves show every n-th frame."""
UNIT_CURVES = 5
"""Named units whose strengths are drawn: those that move most."""
MOST_THUMBS, THUMB_PX = 24, 128

_KEYS_OF_A_FIT = "Identity and albedo were fitted to these frames."
_KEYS_OF_COLOURS = "The colours of the head are from these frames."
_ABOUT_COLOURS = (
    "Colours are the video's, with its light, where the key frames show the surface; elsewhere, "
    "and inside the mouth, those of the face model's mean in their tone. Neither light nor albedo "
    "was predicted."
)


@dataclass(frozen=True)
class VideoSource:
    """What the report of a video says beside the face."""

    run: ReportedRun
    files: Mapping[str, str]
    """Endings of files that are linked where they are there, and what they hold."""
    side: str
    """Ending of the video that shows the face over the frames."""
    side_shows: str
    """What stands in it side by side."""


class VideoReportWriter:
    """Writes the page of one video."""

    def __init__(self, measures: VideoMeasures, report: VideoReport, source: VideoSource) -> None:
        """Take what is shown.

        Args:
            measures: of the face.
            report: how good it is.
            source: what is said beside it.
        """
        self._measures, self._report, self._source = measures, report, source
        self._model, self._face = measures.face_model, measures.face
        self._shown = shown_frames(self._face.found)
        self._step = int(np.diff(self._shown[:2]).sum()) or 1
        self._times = self._face.times_s - self._face.times_s[0]

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
        write_text(stem.with_name(stem.name + REPORT_ENDING), text, escaped=True)

    def page(self, stem: Path, thumbs: Mapping[int, bytes]) -> str:
        """The page as text.

        Args:
            stem: of the files that it links.
            thumbs: number of a key frame -> its picture as JPEG.
        """
        info, card, step = self._face.info, self._model.card, self._step
        files = {
            stem.name + ending: what
            for ending, what in self._source.files.items()
            if stem.with_name(stem.name + ending).exists()
        }
        side = stem.name + self._source.side
        seconds = float(self._times[-1])
        data = self._data(seconds)
        subtitle = (
            f"3D face of the model {card.name} {card.version}, followed through "
            f"{len(self._times)} frames ({seconds:.1f} s)"
        )
        if step > 1:
            subtitle += f"; every {_ordinal(step)} frame is shown here"
        hidden, weak = " hidden", self._face.predicted is not None
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
                "side_note": f"{escaped(self._source.side_shows)}: "
                f'<a href="{link(side)}">{escaped(side)}</a>, shown while it lies beside this page',
                "side_label": escaped(f"{self._source.side_shows}, in step with the 3D view"),
                "no_light": hidden if weak else "",
                "no_colours": "" if weak else hidden,
                "about_colours": about(_ABOUT_COLOURS if weak else ""),
                "about_numbers": about(ABOUT_WEAK if weak else ""),
                "keys_note": _KEYS_OF_COLOURS if weak else _KEYS_OF_A_FIT,
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
        found, predicted = self._face.found, self._face.predicted
        _, faces = self._measures.in_one_camera(self._shown[found[self._shown]])
        colours = None if predicted is None else predicted.colours
        points = shown_frames(found, CURVE_POINTS)
        return {
            **pack_video(self._model, faces, found[self._shown], self._times[self._shown], colours),
            "first": int(self._shown[0]),
            "step": self._step,
            "seconds": round(seconds, 4),
            "cuts": [round(float(self._times[cut]), 4) for cut in self._face.cuts if cut],
            "gaps": [[round(a, 4), round(b, 4)] for a, b in self._gaps()],
            "curve_times": self._times[points].round(4).tolist(),
            "curves": list(self._curves(points)),
        }

    def _curves(self, points: np.ndarray) -> Iterator[dict[str, Any]]:
        """Curves over the frames `points`: title, unit and lines; None where there is no face."""
        face = self._face
        here = face.found[points]
        inner, _ = normalised_error(
            torch.from_numpy(self._measures.landmarks[points[here]]),
            torch.from_numpy(face.landmarks[points[here]]),
        )
        split = self._measures.coefficients(face.coefficients[points[here]])

        def curve(title: str, unit: str, lines: Mapping[str, np.ndarray]) -> dict[str, Any]:
            return {"title": title, "unit": unit, "lines": [*map(line, lines.items())]}

        def line(named: tuple[str, np.ndarray]) -> tuple[str, list[float | None]]:
            values = np.full(len(points), np.nan)
            values[here] = named[1]
            return named[0], [None if math.isnan(v) else float(f"{v:.4g}") for v in values]

        yield curve("Landmark error", " %", {"": 100 * inner.numpy()})
        if face.photo is not None:
            yield curve("Colour error", "", {"": face.photo[points[here]]})
        if face.predicted is not None:
            yield curve("Scale", " px a cm", {"": face.pixels_a_dm[points[here]] / 10})
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
            for run in frame_runs(~self._face.found)
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
        for key in self._face.key_frames:
            at = place(float(self._times[key])) - 2
            marks.append(f'<rect class="key" x="{at}" width="4" height="8" y="2"/>')
        for cut in filter(None, self._face.cuts):
            marks.append(f'<path class="cut" d="M{place(float(self._times[cut]))} 0V12"/>')
        return (
            '<svg class="ruler" viewBox="0 0 1000 12" preserveAspectRatio="none" '
            f'aria-hidden="true">{"".join(marks)}</svg>'
        )

    def _legend(self) -> str:
        marks = []
        if not self._face.found.all():
            marks.append("Orange: no face.")
        if any(self._face.cuts):
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
        report, info = self._report, self._face.info
        frames = len(self._times)
        rate = (frames - 1) / seconds if seconds > 0 else 0.0
        yield "Video", f"{info.width} × {info.height} px, {rate:.4g} a second"
        yield "Frames with a face", f"{report.frames_with_face} of {report.frames}"
        yield "Inner landmarks off by", f"{100 * report.nme_inner:.1f} % of the outer-eye distance"
        if report.photo_error is not None:
            yield "Colours of the skin off by", f"{report.photo_error:.3f} (RGB in 0 to 1)"
        yield "Jitter of detected landmarks", f"{report.jitter_given_px:.2f} px"
        yield "Jitter before smoothing", f"{report.jitter_tracked_px:.2f} px"
        yield "Jitter of the face", f"{report.jitter_px:.2f} px"
        if report.focal_px is not None:
            yield "Focal length", f"{report.focal_px:.0f} px of a crop of 224"
        if report.pixels_a_cm is not None:
            yield "Scale of the face", f"{report.pixels_a_cm:.1f} px a centimetre"
        yield "Cuts", str(sum(map(bool, report.cuts)))
        yield "Heads of this page off by", f"at most {shown_mm:.2f} mm, and rounding"

    def _used(self) -> Iterator[tuple[str, str]]:
        card = self._model.card
        yield "Face model", str(card)
        yield "Its licence", card.licence or "unknown"
        if self._face.predicted is None:
            yield "Identity from", f"{len(self._face.key_frames)} key frames"
        else:
            yield "Identity", "the median of all frames"
        yield from self._source.run.rows()

    def _thumbs(self, reader: VideoReader) -> dict[int, bytes]:
        """The face of each key frame as a small JPEG."""
        keys = sorted(self._face.key_frames)
        keys = keys[:: max(1, -(-len(keys) // MOST_THUMBS))]
        made = {}
        for frame in reader.read(keys):
            crop = self._face.crops[frame.number]
            if crop is not None:
                made[frame.number] = jpeg_bytes(crop.cut(frame.image), THUMB_PX, 72)
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
