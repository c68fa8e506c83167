"""Run the app's server: a port, a folder that goes with it, and the thread that fits."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from options.app_options import AppOptions
from util.app.guard import is_loopback
from util.app.jobs import JobLine
from util.errors import InputError

if TYPE_CHECKING:
    import uvicorn

CONNECTIONS = 256
"""At once; more get a 503. A browser holds six at most."""
MISSING = (
    "app.py needs FastAPI and uvicorn, which are not installed; pip install '.[app]' in the "
    "project's folder installs them"
)


def serve(options: AppOptions, argv: Sequence[str]) -> None:
    """Serve the page until the process is asked to end; nothing of it is left on the disk.

    Args:
        options: where, and how much.
        argv: the whole command line, which the jobs' thread reads with the fitter's flags.

    Raises:
        InputError: the port is taken, something is not installed, or the fitter cannot be loaded.
    """
    try:
        import uvicorn  # noqa: F401

        from util.app.server import Offers, create_app
    except ImportError as error:
        raise InputError(f"{MISSING} ({error})") from error
    listening = listen(options.host, options.port)
    with tempfile.TemporaryDirectory(prefix="face3d_app_", ignore_cleanup_errors=True) as folder:
        line, offers = JobLine(Path(folder), options.waiting, options.kept), Offers()
        server = create_server(create_app(options, line, offers))
        failures: list[BaseException] = []

        def prepare():
            # Not before the page is there: importing torch would hold it up.
            while not server.started and not server.should_exit:
                time.sleep(0.01)
            from util.app.work import prepare
            from util.compilation import COMPILING

            def tell() -> None:
                offers.is_compiling = True
                print(COMPILING, flush=True)

            work, offers.face_models = prepare(argv, tell)
            print(f"Ready, with the face model {offers.face_models[0]}", flush=True)
            return work

        def give_up(error: BaseException) -> None:
            failures.append(error)
            server.should_exit = True

        line.start(prepare, give_up)
        say_where(options, listening)
        # uvicorn raises it again once all is closed; it must not end the clearing up.
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            with suppress(KeyboardInterrupt):
                server.run(sockets=[listening])
        finally:
            signal.signal(signal.SIGTERM, before)
            line.close()
        if failures:
            raise failures[0]
    print("stopped", flush=True)


def create_server(app: Any, log_level: str = "warning") -> uvicorn.Server:
    """The server of an ASGI app, which is yet to run."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise InputError(
            f"--host {host} --port {port} cannot be listened on ({error.strerror or error}); give "
            "another --port, 0 takes any free one"
        ) from error
    return listening


def say_where(options: AppOptions, listening: socket.socket) -> None:
    """Print the address, and open it."""
    port = listening.getsockname()[1]
    name = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{name}:{port}/"
    print(f"Open {address} in a browser; Ctrl-C ends the app and removes what it holds", flush=True)
    if not is_loopback(options.host):
        print(
            f"--host {options.host}: everybody who reaches this address can use the app, without a "
            "password or encryption",
            flush=True,
        )
    has_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if options.open_browser and has_screen:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
