"""How long the app takes to be up, and from a photo to its 3D view.

python -m benchmarks.app
python -m benchmarks.app my.jpg --preset best
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data.images import write_image
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Renderer
from models.stages import reconstruct
from util.assets import OPEN_FACE_MODEL
from util.model_files.face_model_file import read_face_model

ROOT = Path(__file__).resolve().parent.parent
GOALS_S = {"up": 3.0, "3D view": 2.0}


class RunningApp:
    """`app.py` in a process of its own; use as a context manager."""

    def __init__(self, flags: list[str]) -> None:
        """Start it, and wait until its page is there."""
        self.began = time.perf_counter()
        command = [sys.executable, "app.py", "--port", "0", "--open_browser", "False", *flags]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.port = int(line.partition("http://127.0.0.1:")[2].partition("/")[0])
        self.ask("GET", "/")
        self.up_s = time.perf_counter() - self.began

    def __enter__(self) -> RunningApp:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """What the server answers, as bytes, or as JSON where it is some."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(content.decode())
        return json.loads(content) if path.startswith("/api") else content

    def wait_ready(self) -> float:
        """Seconds from the start until the fitter is loaded and warm."""
        while not self.ask("GET", "/api/state")["ready"]:
            time.sleep(0.05)
        return time.perf_counter() - self.began

    def fit(self, photo: bytes) -> tuple[float, float]:
        """Seconds from sending a photo until its view has arrived, and until all is written."""
        began, view_s = time.perf_counter(), 0.0
        job = f"/api/jobs/{self.ask('POST', '/api/photos', photo)['id']}"
        while True:
            state = self.ask("GET", job)
            if state["has_view"] and not view_s:
                self.ask("GET", f"{job}/view")
                view_s = time.perf_counter() - began
            if state["state"] == "done":
                return view_s, time.perf_counter() - began
            if state["state"] not in ("waiting", "running"):
                raise RuntimeError(f"{state['state']}: {state['error']}; give a photo of one face")
            time.sleep(0.02)


def rendered_photo(path: Path) -> None:
    """A face of the open model, about 500 pixels wide, in a picture of two megapixels."""
    model = FaceModel(read_face_model(OPEN_FACE_MODEL))
    with torch.inference_mode():
        made = reconstruct(model, Renderer(), Camera.rnet(), model.layout.zeros(1))
    assert made.rendering.image is not None
    face = torch.where(made.rendering.mask > 0.5, made.rendering.image, torch.tensor(0.45))[0]
    small = (255 * face.clamp(0, 1)).byte().permute(1, 2, 0).numpy()
    large = np.asarray(Image.fromarray(small).resize((900, 900), Image.Resampling.BICUBIC))
    picture = np.full((1200, 1700, 3), large[0, 0], np.uint8)
    picture[150:1050, 400:1300] = large
    write_image(path, picture)


def main() -> None:
    """Print seconds against the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", type=Path, help="of one face; a rendered one if left")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = arguments.photo or Path(folder) / "rendered.png"
        if arguments.photo is None:
            rendered_photo(photo)
        flags = ["--gpu_ids", "-1", "--preset", arguments.preset, "--face_model", "open"]
        with RunningApp([*flags, "--num_cpu_threads", str(arguments.threads)]) as app:
            ready_s = app.wait_ready()
            content = photo.read_bytes()
            seconds = [app.fit(content) for _ in range(arguments.repetitions)]
    views, files = zip(*seconds, strict=True)
    print(
        f"page up: {app.up_s:.2f} s (goal {GOALS_S['up']:g}); fitter ready: {ready_s:.2f} s\n"
        f"photo to 3D view, {arguments.preset}: {statistics.median(views):.2f} s "
        f"(goal {GOALS_S['3D view']:g}; first {views[0]:.2f}, shortest {min(views):.2f}); "
        f"all files: {statistics.median(files):.2f} s\n"
        f"load of this machine while measuring: {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
