"""Say what is installed, what would be used and why, and what works.

python doctor.py
python doctor.py --bfm_folder my_bfm --gpu_ids 0,1     what a command with these flags would use
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from util.command import run_command
from util.errors import InputError
from util.installation import Finding, broken, installed

if TYPE_CHECKING:
    from options import ParsedOptions


def main(argv: Sequence[str] | None = None) -> None:
    """Print every finding; the last line says which commands work.

    The exit code is 1 unless all of them do; wrong files that none of them would use are only
    named.
    """
    packages = list(installed())
    if any(found.state == "wrong" for found in packages):
        show("Installed", packages)
        print("\nWorks now: nothing, packages are missing; install them with: pip install .")
        sys.exit(1)
    try:
        options = read_options(argv)  # a flag may be wrong: print nothing yet
        # Without its packages the program could not even be imported. With the checks comes all
        # that they need, which takes seconds: only now that the command line is sound.
        importlib.import_module("util.diagnosis")
    except InputError:
        raise
    except Exception as error:
        # Whatever a package raises that is there, but damaged or of another system.
        show("Installed", packages)
        show("Broken", [broken(error)])
        print("\nWorks now: nothing, a package cannot be imported")
        sys.exit(1)
    show("Installed", packages)
    sound, sentence = diagnose(options)
    print(f"\n{sentence}")
    if not sound:
        sys.exit(1)


def read_options(argv: Sequence[str] | None) -> ParsedOptions:
    """The flags of the program's commands that say what they would use."""
    from options import parse_command
    from options.base_options import BaseOptions
    from options.data_options import DetectionOptions
    from options.face_options import FaceModelOptions, RenderOptions
    from options.network_options import RecognitionOptions, ReconstructionNetOptions

    groups = (
        *(BaseOptions, FaceModelOptions, RenderOptions, DetectionOptions),
        *(RecognitionOptions, ReconstructionNetOptions),
    )
    return parse_command(groups, argv, __doc__ or "")


def diagnose(options: ParsedOptions) -> tuple[bool, str]:
    """Run and print the checks that need the packages; whether all is well, and what works."""
    from util.diagnosis import CHECKS, findings, what_works

    report = {
        title: show(title, (found for check in checks for found in findings(check, options)))
        for title, checks in CHECKS.items()
    }
    return what_works(report)


def show(title: str, found: Iterable[Finding]) -> list[Finding]:
    """Print a section as its findings come, and keep them."""
    print(title)
    kept = []
    for finding in found:
        kept.append(finding)
        print(f"  {finding.state:<8} {finding.subject}: {finding.detail}", flush=True)
    if not kept:
        print("  none yet")
    return kept


if __name__ == "__main__":
    run_command(main)
