"""Render synthetic faces with their true coefficients from the face model.

python make_synthetic.py --count 12000 --val_count 256 --output datasets/synthetic
"""

from __future__ import annotations

from collections.abc import Sequence

from data.synthetic.generate import SynthesisOptions, generate
from models.face_model import FaceModelOptions
from options import parse_command
from util.assets import choose_face_model
from util.command import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the training faces and, unless --val_count is 0, the validation faces."""
    options = parse_command([SynthesisOptions, FaceModelOptions], arguments, __doc__ or "")
    wanted = options[SynthesisOptions]
    face_model, message = choose_face_model(options[FaceModelOptions])
    print(f"Face model: {message}")
    for part in [wanted, wanted.validation()] if wanted.val_count else [wanted]:
        made = generate(part, face_model)
        print(f"{part.count} faces in {part.output}: {made} made, {part.count - made} kept")
        print(f"Lists: datalist/{part.list_name}")


if __name__ == "__main__":
    run_command(main)
