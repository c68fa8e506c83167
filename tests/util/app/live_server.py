"""The app's real server on a free port of this computer, with any work behind it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from options.app_options import AppOptions
from util.app.jobs import Job, JobLine
from util.app.server import Offers, create_app
from util.app.serving import create_server, listen


class LiveServer:
    """Serves in a thread; use as a context manager."""

    def __init__(
        self,
        folder: Path,
        prepare: Callable[[], Callable[[Job], None]],
        options: AppOptions,
        face_models: tuple[str, ...] = ("tiny", "other"),
    ) -> None:
        """Begin to listen; jobs have their folders in `folder`."""
        self.folder, self.options = folder, options
        self.line = JobLine(folder, options.waiting, options.kept)
        self._prepare = prepare
        self._listening = listen("127.0.0.1", 0)
        self.port: int = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.failures: list[BaseException] = []
        app = create_app(options, self.line, Offers(face_models))
        self._server = create_server(app, "critical")
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listening]}
        )

    def __enter__(self) -> LiveServer:
        self._thread.start()
        # It imports on the way, which tests that hide packages must not meet.
        until = time.monotonic() + 60
        while not self._server.started and self._thread.is_alive():
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.01)
        self.line.start(self._prepare, self.failures.append)
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()
        self._server.should_exit = True
        self._thread.join(20)
        self._listening.close()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, content (JSON where it is some) and headers; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content: Any = answer.read()
        finally:
            connection.close()
        named = {name.lower(): value for name, value in answer.getheaders()}
        if content and named.get("content-type") == "application/json":
            content = json.loads(content)
        return answer.status, content, named

    def send(self, kind: str, content: bytes, query: str = "") -> str:
        """Upload what must be taken; the job's id."""
        status, answer, _ = self.ask("POST", f"/api/{kind}s{query}", content)
        assert status == 202, answer
        return answer["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        """How far it is."""
        status, answer, _ = self.ask("GET", f"/api/jobs/{job_id}")
        assert status == 200, answer
        return answer

    def ended(self, job_id: str, seconds: float = 60) -> dict[str, Any]:
        """The job when it has ended."""
        until = time.monotonic() + seconds
        while (job := self.job(job_id))["state"] in ("uploading", "waiting", "running"):
            assert time.monotonic() < until, job
            time.sleep(0.02)
        return job
