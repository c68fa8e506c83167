"""The app's requests: uploads in, progress, views and files out; errors as `{"error": ...}`."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from options.app_options import AppOptions
from util.app.guard import Guard, allowed_names, is_loopback
from util.app.jobs import FINISHED, Job, JobLine, LineFull, Wish
from util.app.page import app_page
from util.app.uploads import Refused, drain, receive

PRESETS: tuple[str, ...] = get_args(get_type_hints(AppOptions)["preset"])
_ARCHIVED_AS_IS = (".png", ".jpg", ".mp4", ".npz", ".glb", ".usdz")
"""Compressed already."""


@dataclass
class Offers:
    """What a visitor may choose; the face models are known once the fitter is loaded."""

    face_models: Sequence[str] = ()
    """The first is proposed."""
    is_compiling: bool = False
    """Whether that takes longer, since loops are being compiled."""


def create_app(options: AppOptions, line: JobLine, offers: Offers) -> Guard:
    """The ASGI app.

    Args:
        options: of the command.
        line: of the jobs, started by the caller.
        offers: filled in by what loads the fitter.
    """
    # The pages that FastAPI makes of the interface load scripts from elsewhere.
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page, policy = app_page()

    @api.get("/")
    def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    @api.get("/api/state")
    def state() -> dict[str, Any]:
        return {
            "ready": line.ready,
            "compiling": offers.is_compiling,
            "face_models": list(offers.face_models),
            "presets": PRESETS,
            "preset": options.preset,
            "most_mb": {"photo": options.photo_mb, "video": options.video_mb},
        }

    @api.post("/api/{kind}s", status_code=202)
    async def upload(
        request: Request,
        kind: Literal["photo", "video"],
        face_model: str = "",
        preset: str = "",
        name: str = "",
    ) -> dict[str, str]:
        most_mb = options.photo_mb if kind == "photo" else options.video_mb
        try:
            job = line.open(_wish(kind, face_model, preset))
            with _removed_on_failure(job):
                job.upload = await receive(request, kind, job.folder, most_mb, name)
        except (LineFull, Refused):
            await drain(request)
            raise
        line.submit(job)
        return {"id": job.id}

    @api.post("/api/jobs/{job_id}/fits", status_code=202)
    def fit_again(
        job_id: str, face: int = 0, face_model: str = "", preset: str = ""
    ) -> dict[str, str]:
        """Another job on the same photo, without another upload."""
        before = _job(job_id)
        if before.upload is None or before.wish.kind != "photo" or before.found is None:
            raise Refused(409, "there is no photo with faces to fit again")
        face = face or before.wish.face
        if not 0 <= face <= len(before.faces):
            raise Refused(400, f"face {face} is none of the {len(before.faces)} in the photo")
        job = line.open(replace(_wish("photo", face_model, preset), face=face))
        with _removed_on_failure(job):
            job.upload = Path(shutil.copy(before.upload, job.folder))
        job.found, job.faces = before.found, before.faces
        line.submit(job)
        return {"id": job.id}

    @api.get("/api/jobs/{job_id}")
    def progress(job_id: str) -> dict[str, Any]:
        job = _job(job_id)
        return {
            "kind": job.wish.kind,
            "state": job.state,
            "before": line.place(job) if job.state == "waiting" else 0,
            "stages": [vars(stage) for stage in list(job.stages)],
            "faces": job.faces,
            "face": job.wish.face,
            "face_model": job.wish.face_model,
            "preset": job.wish.preset,
            "has_view": bool(job.view),
            "error": job.error,
            "files": _sizes(job) if job.state == "done" else {},
            "seconds": None if job.ended is None else round(job.ended - job.began, 3),
        }

    @api.delete("/api/jobs/{job_id}", status_code=204)
    def remove(job_id: str) -> Response:
        line.remove(_job(job_id))
        return Response(status_code=204)

    @api.get("/api/jobs/{job_id}/view")
    def view(job_id: str) -> Response:
        job = _job(job_id)
        if not job.view:
            raise Refused(409, "there is nothing to see yet")
        return Response(job.view, media_type="application/json")

    @api.get("/api/jobs/{job_id}/files.zip")
    def archive(job_id: str) -> FileResponse:
        job = _job(job_id)
        return FileResponse(_archive(job, _files(job)), filename=f"{_stem(job)}.zip")

    @api.get("/api/jobs/{job_id}/files/{name:path}")
    def file(job_id: str, name: str) -> FileResponse:
        # Only what the job lists: the name is looked up and is no path.
        path = _files(_job(job_id)).get(name)
        if path is None:
            raise Refused(404, "there is no such file")
        is_played = path.suffix == ".mp4"
        kind = "video/mp4" if is_played else "application/octet-stream"
        # Asked here, where one that has gone is an error that gets its answer.
        stat = path.stat()
        return FileResponse(path, media_type=kind, filename=path.name, stat_result=stat)

    def _wish(kind: Literal["photo", "video"], face_model: str, preset: str) -> Wish:
        """What is asked for, of what is offered: names from outside never name files."""
        preset = preset or options.preset
        if preset not in PRESETS:
            raise Refused(400, f"preset must be one of {', '.join(PRESETS)}")
        if face_model and face_model not in offers.face_models:
            raise Refused(400, f"face_model must be one of {', '.join(offers.face_models)}")
        return Wish(kind, face_model, preset)

    def _job(job_id: str) -> Job:
        job = line.get(job_id)
        if job is None:
            raise Refused(404, "there is no such job; it may have been removed, send it again")
        return job

    @contextmanager
    def _removed_on_failure(job: Job):
        try:
            yield
        except BaseException:  # a broken connection cancels the task
            line.remove(job)
            raise

    @api.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return _error(error.status, error.message)

    @api.exception_handler(LineFull)
    async def full(_: Request, error: LineFull) -> JSONResponse:
        return _error(429, str(error), {"retry-after": "5"})

    @api.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, _in_words(request, error), error.headers)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        return _error(400, f"{problem['loc'][-1]}: {problem['msg']}")

    @api.exception_handler(FileNotFoundError)
    async def removed(_: Request, error: FileNotFoundError) -> JSONResponse:
        # It went while it was asked for: removed, or newer jobs have taken its place.
        return _error(404, "the files are not there any more; send the photo or video again")

    @api.exception_handler(OSError)
    async def no_space(_: Request, error: OSError) -> JSONResponse:
        return _error(507, f"the server cannot write ({error.strerror or 'no reason given'})")

    @api.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> JSONResponse:
        name = type(error).__name__
        return _error(500, f"a defect of the program ({name}); the terminal shows where")

    return Guard(
        api,
        allowed_names(options.host, options.other_names),
        any_address=not is_loopback(options.host),
        policy=policy,
    )


def _error(status: int, message: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


def _in_words(request: Request, error: HTTPException) -> str:
    """What the framework says in two words, with what was asked and what there is."""
    path = request.url.path
    if error.status_code == 404:
        return (
            f"there is nothing at {path}; the page is at /, and uploads go to /api/photos and "
            "/api/videos"
        )
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.method} is not for {path}; it takes {allowed}"
    return str(error.detail)


def _files(job: Job) -> dict[str, Path]:
    if job.state not in FINISHED:
        raise Refused(409, "the files are not written yet")
    return job.files()


def _stem(job: Job) -> str:
    return job.upload.stem if job.upload is not None else job.wish.kind


def _sizes(job: Job) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in job.files().items()}


def _archive(job: Job, files: dict[str, Path]) -> Path:
    """All files in one, made when first asked for."""
    if not files:
        raise Refused(404, "there are no files")
    path, part = job.folder / "all.zip", job.folder / f"all.{id(files)}.part"
    if not path.is_file():
        try:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
                for name, file in files.items():
                    as_is = file.suffix in _ARCHIVED_AS_IS
                    archive.write(file, name, zipfile.ZIP_STORED if as_is else None)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path
