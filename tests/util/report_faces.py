"""The faces that tests of reports and outputs share."""

from __future__ import annotations

from benchmarks.example_faces import FIT, drawn_photo, report_face, report_row, report_writer

__all__ = ["FIT", "drawn_photo", "report_face", "report_row", "report_writer"]
