"""Train an R-Net, or another model, on a prepared folder of faces.

python train.py --name my_faces --flist datalist/train/masks.txt --flist_val datalist/val/masks.txt
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from options import ParsedOptions, parse_command, write_options
from options.base_options import BaseOptions, DisplayOptions, DistributedOptions, run_folder
from options.flags import flag_names, without_effect
from options.groups import DATASET_GROUPS, MODEL_GROUPS, chosen_groups
from options.train_options import LoaderOptions, TrainOptions
from util.command import run_command
from util.training.run_choice import check_run

if TYPE_CHECKING:
    import torch

    from util.training.distributed import Place, Ranks


def option_groups(given: dict[str, str]) -> list[type]:
    """The options of a training: the model and the dataset bring their own.

    Flags of the public command lines are those of the defaults; another choice accepts them too.
    """
    mode = given.get("dataset_mode", TrainOptions.dataset_mode)
    model = given.get("model", BaseOptions.model)
    shared = [BaseOptions, TrainOptions, LoaderOptions, DisplayOptions, DistributedOptions]
    own = [
        *chosen_groups("dataset_mode", mode, DATASET_GROUPS),
        *chosen_groups("model", model, MODEL_GROUPS),
    ]
    # A group that model and dataset both name appears once.
    groups = list(dict.fromkeys([*shared, *own]))
    public = {
        f"--model {model}": MODEL_GROUPS[BaseOptions.model],
        f"--dataset_mode {mode}": DATASET_GROUPS[TrainOptions.dataset_mode],
    }
    reasons = {
        flag: f"{choice} does not use it"
        for choice, owners in public.items()
        for flag in flag_names(owners) - flag_names(groups)
    }
    return [*groups, without_effect([*chain.from_iterable(public.values())], reasons)]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, create data and model, then for each epoch: train, validate, save."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = parse_command(option_groups, arguments, __doc__ or "")
    check_run(options)
    # What computes takes seconds to import: only now that the command line is sound.
    from util.devices import choose_device
    from util.training.distributed import Place, joined
    from util.training.launch import processes_to_start, run_processes

    base, several = options[BaseOptions], options[DistributedOptions]
    place = Place.from_environment()
    count = processes_to_start(base.gpu_ids, several.world_size, several.use_ddp, place)
    if count > 1:
        # Saved options name the default too, so that it cannot count as a wish.
        port = 0 if several.ddp_port == DistributedOptions.ddp_port else int(several.ddp_port)
        run_processes([str(Path(__file__).resolve()), *arguments], count, port)
        return
    place = place or Place()
    device = choose_device(base.gpu_ids, base.num_cpu_threads, place.local_rank, place.local_size)
    with joined(place, device) as ranks:
        run(options, device, place, ranks)


def run(options: ParsedOptions, device: torch.device, place: Place, ranks: Ranks) -> None:
    """Train in this process, alone or as one of several."""
    from tqdm import tqdm

    from data import FaceLoader, create_dataset
    from data.loader import loader_deaths_named
    from models import create_model
    from util.assets import load_assets
    from util.atomic import remove_leftovers
    from util.training.loop import Training
    from util.training.random_state import seed_everything
    from util.training.training_end import closing_words
    from util.training.training_start import (
        begin_anew_without_checkpoint,
        finished,
        remove_earlier_run,
        start,
    )
    from util.training.training_state import follow_order

    base, folder = options[BaseOptions], run_folder(options)
    options = begin_anew_without_checkpoint(options, folder)
    train = options[TrainOptions]
    seed_everything(base.seed)

    if not ranks.is_first:
        ranks.barrier()  # the first process may convert the user's face model
    assets = load_assets(options)
    if ranks.is_first:
        ranks.barrier()
    train_set = create_dataset(train.dataset_mode, options, assets, is_train=True)
    val_set = create_dataset(train.dataset_mode, options, assets, is_train=False)
    loader = options[LoaderOptions]
    faces = FaceLoader(train_set, loader, base.seed, True, place, device)
    val_faces = FaceLoader(val_set, loader, base.seed, False, place, device)
    model = create_model(base.model, options, assets, device)
    model.distribute(ranks)
    if not ranks.is_first:
        seed_everything(base.seed + ranks.rank)  # what a network draws differs from face to face
    progress = start(model, options, folder)
    if finished(progress, model, train):
        return
    progress, notice = follow_order(progress, {**faces.order, "processes": ranks.size})
    ranks.barrier()
    if ranks.is_first:
        # Only now, so that a start that fails leaves an earlier run as it was.
        if train.overwrite and not train.continue_train:
            remove_earlier_run(folder)
        remove_leftovers(folder)
        write_options(options, folder, "train")
    where = f"{ranks.size} processes on {device.type}" if ranks.size > 1 else device
    count, val_count = (each.order["faces"] for each in (faces, val_faces))
    print(f"{count} faces to train on, {val_count} to validate on, on {where}")
    for text in filter(None, (notice, faces.notice, val_faces.notice, model.notice)):
        print(text)

    bad_images = (faces.bad_images, val_faces.bad_images)
    training = Training(model, options, folder, len(faces), progress, bad_images)
    tqdm.write(training.length)  # there is a bar already
    with training, loader_deaths_named():
        for epoch in training.epochs:
            faces.set_epoch(epoch, skip=training.progress.batches)
            for batch in faces:
                training.step(batch, val_faces)
                if training.out_of_time:
                    break
            training.end_epoch(epoch, val_faces)
            if training.out_of_time:
                break
    if ranks.is_first:
        if named := training.bad_images_named():
            print(named)
        print(closing_words(folder, options))


if __name__ == "__main__":
    run_command(main)
