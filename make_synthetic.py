"""Render synthetic faces with their true coefficients from the face model.

python make_synthetic.py --n 20000 --out datasets/synth

As an array job of any scheduler: the same with `--shard 0/16` ... `--shard 15/16`, then with
`--merge`.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.synthetic.generate import SynthesisOptions, generate
from data.synthetic.photographer import refuse_head
from models.face_model import FaceModelOptions
from options import parse_command
from util.assets import choose_face_model
from util.command import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the training faces and, unless --n_val is 0, the validation faces."""
    options = parse_command([SynthesisOptions, FaceModelOptions], arguments, __doc__ or "")
    wanted = options[SynthesisOptions]
    refuse_head(options[FaceModelOptions])
    face_model, message = choose_face_model(options[FaceModelOptions])
    print(f"Face model: {message}")
    for part in [wanted, wanted.validation()] if wanted.n_val else [wanted]:
        done = generate(part, face_model)
        print(
            f"{done.wanted} faces in {part.out}: {done.made} made, {done.wanted - done.made} kept"
        )
        for sentence in done.bad_pictures:
            print(f"Background left out: {sentence}")
        if part.shard:
            print(f"Part {part.shard} is made; when all are, run the same with --merge")
        else:
            print(f"Lists: datalist/{part.list_name}")


if __name__ == "__main__":
    run_command(main)
