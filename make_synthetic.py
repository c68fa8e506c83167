"""Render synthetic faces with their true coefficients from the face model.

python make_synthetic.py --n 20000 --out datasets/synth

python make_synthetic.py --layout ddfa --n 20000 --out datasets/ddfa

As an array job of any scheduler: the same with `--shard 0/16` ... `--shard 15/16`, then with
`--merge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.synthetic.backgrounds import PictureFolder
from options import parse_command
from options.face_options import FaceModelOptions, check_face_model, refuse_head
from options.synthesis_options import SynthesisOptions
from util.command import run_command
from util.folders import check_folder

if TYPE_CHECKING:
    from data.synthetic.generate import Made
    from models.face_model import FaceModel


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the training faces and, unless --n_val is 0, the validation faces."""
    options = parse_command([SynthesisOptions, FaceModelOptions], arguments, __doc__ or "")
    wanted = options[SynthesisOptions]
    check_folder(wanted.out, "out")
    check_face_model(options[FaceModelOptions])
    refuse_head(options[FaceModelOptions])
    if wanted.backgrounds:
        PictureFolder.open(Path(wanted.backgrounds))
    # What computes takes seconds to import: only now that the command line is sound.
    from util.assets import choose_face_model

    face_model, message = choose_face_model(options[FaceModelOptions])
    print(f"Face model: {message}")
    for made, where in make(wanted, face_model):
        if not made.wanted:
            print(f"Part {wanted.shard} has no faces in {where}: parts share them out by tens")
            continue
        print(f"{made.wanted} faces in {where}: {made.made} made, {made.wanted - made.made} kept")
        for sentence in made.bad_pictures:
            print(f"Background left out: {sentence}")
    if wanted.shard:
        print(f"Part {wanted.shard} is made; when all are, run the same with --merge")


def make(wanted: SynthesisOptions, face_model: FaceModel) -> Iterator[tuple[Made, str]]:
    """Make each set of faces of a layout; yields what was done, and where it lies."""
    from data.synthetic.datatool_layout import (
        TAG,
        VALIDATION_TAG,
        generate_datatool,
        validation_options,
    )
    from data.synthetic.ddfa_layout import (
        BENCHMARK,
        IMAGES,
        benchmark_options,
        generate_benchmark,
        generate_ddfa,
    )
    from data.synthetic.generate import generate

    if wanted.layout == "aflw2000":
        yield generate_benchmark(wanted, face_model), f"{wanted.out}/{BENCHMARK}"
    elif wanted.layout == "ddfa":
        yield generate_ddfa(wanted, face_model), f"{wanted.out}/{IMAGES}"
        if wanted.validation_count:
            heads = benchmark_options(wanted)
            yield generate_benchmark(heads, face_model), f"{wanted.out}/{BENCHMARK}"
    elif wanted.layout == "datatool":
        yield generate_datatool(wanted, face_model, TAG), f"{wanted.out}/{TAG}"
        if wanted.validation_count:
            faces = validation_options(wanted)
            done = generate_datatool(faces, face_model, VALIDATION_TAG)
            yield done, f"{wanted.out}/{VALIDATION_TAG}"
    else:
        for part in [wanted, wanted.validation()] if wanted.validation_count else [wanted]:
            yield generate(part, face_model), part.out
            if not part.shard:
                print(f"Lists: datalist/{part.list_name}")


if __name__ == "__main__":
    run_command(main)
