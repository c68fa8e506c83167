"""From a fresh clone to 3D faces, or to passing tests, in one command.

python3 quickstart.py            trains an R-Net on rendered faces and reconstructs two portraits
python3 quickstart.py --tests    runs the tests

Needs Python 3.10 or newer and nothing else: it makes its own environment in .venv and runs the
ordinary commands there, printing each, so that they can be repeated one by one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
EXTRAS = "dev,demo,app"


class NoEnvironment(Exception):
    """The environment cannot be made; the message says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the environment, then run the demo or the tests; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Else --test would be --tests, and -k of pytest could be anything.
        allow_abbrev=False,
    )
    parser.add_argument("--tests", action="store_true", help="run the tests, not the demo")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="minutes of training (default 8)"
    )
    parser.add_argument(
        "--faces", type=int, default=12000, help="faces to render for training (default 12000)"
    )
    parser.add_argument("--name", default="quickstart", help="name of the run in checkpoints/")
    arguments, rest = parser.parse_known_args(argv)
    if rest and not arguments.tests:
        parser.error(f"unknown arguments: {' '.join(rest)} (those of pytest go with --tests)")
    if not 0 < arguments.minutes < 10000:
        parser.error(f"--minutes is {arguments.minutes}; it must be above 0, such as 8")
    if arguments.faces < 100:
        parser.error(f"--faces is {arguments.faces}; at least 100 are needed to train")
    if sys.version_info < (3, 10):  # noqa: UP036 - runs before anything has checked it
        parser.error(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}")

    try:
        python = prepare_environment()
        if arguments.tests:
            run_tests(python, rest)
        else:
            run_demo(python, arguments)
    except NoEnvironment as error:
        print(f"error: {error}")
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: this command failed with exit code {error.returncode}: {shown(error.cmd)}")
        return error.returncode or 1
    except KeyboardInterrupt:
        print(
            "interrupted; the same command goes on: rendered faces and prepared photos are kept, "
            "training starts anew"
        )
        return 130
    return 0


def prepare_environment() -> Path:
    """Create .venv with all dependencies, unless it is up to date; returns its Python."""
    folder = "Scripts" if os.name == "nt" else "bin"
    python = ENVIRONMENT / folder / ("python.exe" if os.name == "nt" else "python")
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = ENVIRONMENT / "installed.txt"
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"Installing the dependencies into {ENVIRONMENT} ...", flush=True)
    if not python.exists() or not has_pip(python):
        create_environment()
    # pyproject.toml names no packages: this installs dependencies, never models/ or data/.
    run(python, "-m", "pip", "install", "--quiet", f"{ROOT}[{EXTRAS}]")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def has_pip(python: Path) -> bool:
    """Whether pip runs; an environment whose making was stopped has Python alone."""
    command = [str(python), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def create_environment() -> None:
    """Make .venv with pip.

    Raises:
        NoEnvironment: parts of Python are missing, or the folder cannot be written.
    """
    try:
        venv.create(ENVIRONMENT, with_pip=True)
    except (subprocess.CalledProcessError, ImportError) as error:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise NoEnvironment(
            f"{ENVIRONMENT} cannot be made, this Python cannot install pip. On Debian and Ubuntu "
            f"a package is missing: `sudo apt install {package}`, then run the same command again"
        ) from error
    except OSError as error:
        raise NoEnvironment(f"{ENVIRONMENT} cannot be made: {error}") from error


def run_tests(python: Path, pytest_arguments: list[str]) -> None:
    """Run all but the slow tests, two at a time."""
    # Groups are files whose preparation is long: one process does it for all of their tests.
    selection = pytest_arguments or ["-m", "not slow", "-n", "2", "--dist", "loadgroup"]
    run(python, "-m", "pytest", *selection)


def run_demo(python: Path, arguments: argparse.Namespace) -> None:
    """Portraits, synthetic faces, preparation, training, reconstruction, fitting."""
    started = time.monotonic()
    name, photos = arguments.name, "datasets/portraits"
    run(python, "-m", "data.portraits", photos)
    run(python, "make_synthetic.py", "--face_model", "open", "--n", arguments.faces)
    run(python, "data_preparation.py", "--img_folder", "portraits", "--mode", "test")
    recipe = ("--config", "configs/quick.yaml", "--max_minutes", arguments.minutes)
    run(python, "train.py", "--name", name, "--overwrite", *recipe)
    run(python, "test.py", "--name", name, "--img_folder", photos, "--solve_appearance")
    start = ("--init", "regress", "--name", name)
    run(python, "fit.py", photos, *start, "--res_folder", "fits", "--save", "glb", "texture")
    results = ROOT / "checkpoints" / name / "results" / "portraits"
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.0f} minutes. Look at:\n"
        f"  {results / 'epoch_latest_000000' / 'index.html'}   the network's faces\n"
        f"  {ROOT / 'fits' / 'index.html'}   the fits from there, to turn and to animate\n"
        "(open them in a browser; meshes and coefficients lie beside them)\n"
        f"  {ROOT / 'checkpoints' / arguments.name}   the trained network, its log and options\n"
        "Your own photos:\n"
        f"  {shown([python, 'test.py', '--name', name, '--img_folder', 'FOLDER'])}"
        " --solve_appearance\n"
        f"  {shown([python, 'fit.py', 'my.jpg'])}"
    )


def run(*command: object) -> None:
    """Print and run a command in the project's root; an error ends the whole."""
    words = [str(word) for word in command]
    print(f"\n$ {shown(words)}", flush=True)
    subprocess.run(words, cwd=ROOT, check=True)


def shown(words: Sequence[object]) -> str:
    """A command as one would type it in the project's root."""
    texts = [str(word) for word in words]
    short = [text.removeprefix(f"{ROOT}{os.sep}") for text in texts]
    return " ".join(shlex.quote(text) for text in short)


if __name__ == "__main__":
    sys.exit(main())
