"""Options of `app.py` alone; torch-free, since the page is there before the fitter is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from util.errors import InputError


@dataclass(frozen=True)
class AppOptions:
    """Where the page is, and what it takes."""

    host: str = "127.0.0.1"
    """Address to listen on. Only this computer reaches the default; with any other, everybody who
    reaches it can use the app."""
    port: int = 8765
    """Port to listen on; 0 takes any that is free."""
    other_names: str = ""
    """Further names, separated by commas, by which browsers may call this computer, such as that of
    a proxy in front of the app."""
    open_browser: bool = True
    """Open the page in the browser of this computer."""
    preset: Literal["fast", "balanced", "best"] = "balanced"
    """What the page proposes: how finely a photo is looked at, and how many steps are tried."""
    photo_mb: float = 20
    """Largest photo in megabytes."""
    photo_megapixels: float = 50
    """Largest photo in megapixels, known before it is decoded."""
    video_mb: float = 200
    """Largest video in megabytes."""
    video_minutes: float = 10
    """Longest video in minutes, at up to 60 frames a second; known before it is decoded."""
    fit_minutes: float = 60
    """Longest that the fit of one video may take, in minutes; then it is ended, and the next in
    line has its turn."""
    waiting: int = 8
    """Photos and videos that may wait for their turn; more are refused until one is done."""
    kept: int = 12
    """Results that are kept; the oldest go when there are more, and all when the app ends."""

    def __post_init__(self) -> None:
        """Refuse what no server could use."""
        if not 0 <= self.port < 65536:
            raise InputError(f"--port is {self.port}; it must be 0 (any free one) or below 65536")
        for name in ("photo_mb", "photo_megapixels", "video_mb", "video_minutes", "fit_minutes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"--{name} is {getattr(self, name)}; it must be above 0")
        for name in ("waiting", "kept"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} is {getattr(self, name)}; it must be at least 1")
