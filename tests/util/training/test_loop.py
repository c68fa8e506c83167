"""The training loop's bookkeeping, with the template model as the smallest trainee."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.bad_images import BadImages
from models import create_model
from models.batch import FaceBatch
from models.template_model import TemplateModel
from options import ParsedOptions, parse_command
from options.base_options import DisplayOptions
from options.train_options import LoaderOptions, TrainOptions
from util.errors import InputError
from util.training.checkpoint import load_checkpoint
from util.training.checkpoint_names import list_checkpoints
from util.training.loop import Training
from util.training.training_state import Progress, resume_training

GROUPS = [TrainOptions, LoaderOptions, DisplayOptions, *TemplateModel.option_groups]


def batch(number: int = 0, bad: bool = False, size: int = 2) -> FaceBatch:
    images = torch.full((size, 3, 8, 8), 0.1 * (number % 10))
    if bad:
        images[0, 0, 0, 0] = float("nan")
    return FaceBatch(images, tuple(f"photo {number}-{k}.png" for k in range(size)))


def model_of(options: ParsedOptions) -> TemplateModel:
    model = create_model("template", options, None, torch.device("cpu"))
    assert isinstance(model, TemplateModel)
    return model


def start(folder: Path, *argv: str, batches: int = 4, progress: Progress | None = None) -> Training:
    options = parse_command(GROUPS, argv)
    return Training(model_of(options), options, folder, batches, progress or Progress())


def log_of(folder: Path) -> list[str]:
    lines = (folder / "loss_log.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("===")]


def test_steps_are_counted_and_logged(tmp_path: Path):
    with start(tmp_path, "--print_freq", "2") as training:
        for number in range(5):
            training.step(batch(number), [])
        assert (training.progress.step, training.progress.batches) == (5, 5)
    steps = [line.split(", step ")[1].split(",")[0] for line in log_of(tmp_path)]
    assert steps == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--max_minutes", "0"), "Ends at step 80,000, with epoch 20 (--n_epochs); no limit of ti"),
        (("--n_epochs", "100000"), "at step 400,000,000, with epoch 100,000 (--n_epochs); no l"),
        (("--max_minutes", "8"), "Ends after 8 minutes (--max_minutes), or at step 80,000, with"),
    ],
)
def test_when_it_ends_is_said(tmp_path: Path, argv: tuple[str, ...], words: str):
    with start(tmp_path, *argv, batches=4000) as training:
        assert words in training.length


def test_the_last_step_is_logged_whatever_its_number(tmp_path: Path):
    with start(tmp_path, "--print_freq", "2", "--n_epochs", "1", batches=3) as training:
        for number in range(3):
            training.step(batch(number), [])
    steps = [line.split(", step ")[1].split(",")[0] for line in log_of(tmp_path)]
    assert steps == ["1", "2", "3"]


def test_latest_is_saved_every_so_often(tmp_path: Path):
    with start(tmp_path, "--save_latest_freq", "2") as training:
        training.step(batch(0), [])
        assert list_checkpoints(tmp_path) == []
        training.step(batch(1), [])
        assert list_checkpoints(tmp_path) == ["latest"]
    assert load_checkpoint(tmp_path / "epoch_latest.pth", ("net_colour",))["progress"]["step"] == 2


def test_frequencies_may_count_faces(tmp_path: Path):
    """Public meaning of --display_per_batch False; a multiple is not missed between two steps."""
    argv = ["--print_freq", "5", "--display_per_batch", "False", "--batch_size", "2"]
    with start(tmp_path, *argv) as training:
        for number in range(8):
            training.step(batch(number), [])
    steps = [line.split(", step ")[1].split(",")[0] for line in log_of(tmp_path)]
    # 2, 4, 6, ... faces: 5, 10 and 15 are reached in steps 3, 5 and 8.
    assert steps == ["1", "3", "5", "8"]


def test_saves_by_iteration_keep_their_own_files(tmp_path: Path):
    with start(tmp_path, "--save_latest_freq", "2", "--save_by_iter") as training:
        for number in range(4):
            training.step(batch(number), [])
    assert set(list_checkpoints(tmp_path)) == {"latest", "iter_2", "iter_4"}
    # The file's number is a step; its training stands in epoch 1.
    options = parse_command(GROUPS, [])
    progress = resume_training(tmp_path / "epoch_iter_4.pth", model_of(options), options)
    assert (progress.epoch, progress.step) == (1, 4)


def test_epochs_end_with_a_validation_and_files(tmp_path: Path):
    with start(tmp_path, "--save_epoch_freq", "2", "--n_epochs", "5") as training:
        for epoch in range(1, 6):
            training.step(batch(epoch), [])
            training.end_epoch(epoch, [batch(7)])
            assert (training.progress.epoch, training.progress.batches) == (epoch + 1, 0)
    assert list_checkpoints(tmp_path) == ["2", "4", "5", "latest"]
    assert sum(line.startswith("(val") for line in log_of(tmp_path)) == 5


def test_validation_is_the_mean_over_batches(tmp_path: Path):
    with start(tmp_path) as training:
        before = training.model.networks["net_colour"].state_dict()["colour"].clone()
        mean = training.validate([batch(2), batch(4), batch(6)])
        after = training.model.networks["net_colour"].state_dict()["colour"]
    assert mean == pytest.approx((0.2**2 + 0.4**2 + 0.6**2) / 3, rel=1e-5)
    assert torch.equal(before, after)


def test_a_validation_may_be_shortened(tmp_path: Path):
    with start(tmp_path, "--eval_batch_nums", "2") as training:
        assert training.validate([batch(2), batch(4), batch(9)]) == pytest.approx(0.1, rel=1e-5)


def test_without_validation_faces_there_is_no_loss(tmp_path: Path):
    with start(tmp_path) as training:
        assert training.validate([]) is None
        training.step(batch(1), [])
        training.end_epoch(1, [])
    assert list_checkpoints(tmp_path) == ["1", "latest"]


def test_a_bad_step_is_skipped_and_its_photos_are_named(tmp_path: Path):
    with start(tmp_path) as training:
        training.step(batch(1), [])
        before = training.model.networks["net_colour"].state_dict()["colour"].clone()
        training.step(batch(5, bad=True, size=12), [])
        assert torch.equal(training.model.networks["net_colour"].state_dict()["colour"], before)
        assert training.progress.step == 2
    line = log_of(tmp_path)[-1]
    assert "step 2" in line and "not finite" in line
    assert "photo 5-0.png" in line and "photo 5-7.png" in line and "and 4 more" in line


def test_many_bad_steps_in_a_row_stop_the_run(tmp_path: Path):
    with (
        pytest.raises(InputError, match=r"3 steps in a row.*--max_bad_steps.*--lr"),
        start(tmp_path, "--max_bad_steps", "3", "--save_latest_freq", "2") as training,
    ):
        training.step(batch(1), [])
        training.step(batch(2), [])
        good = (tmp_path / "epoch_latest.pth").read_bytes()
        for number in range(10):
            training.step(batch(number, bad=True), [])
    assert training.progress.step == 5
    state = load_checkpoint(tmp_path / "epoch_latest.pth", ("net_colour",))
    assert torch.isfinite(state["net_colour"]["colour"]).all()
    # Step 4 was due for a save; the weights in it are those of the last good step.
    first = tmp_path / "first.pth"
    first.write_bytes(good)
    assert torch.equal(
        state["net_colour"]["colour"],
        load_checkpoint(first, ("net_colour",))["net_colour"]["colour"],
    )


def test_a_good_step_in_between_starts_the_count_anew(tmp_path: Path):
    with start(tmp_path, "--max_bad_steps", "3") as training:
        for number in range(12):
            training.step(batch(number, bad=number % 3 != 0), [])
    assert training.progress.step == 12


def test_the_share_done_by_steps(tmp_path: Path):
    with start(tmp_path, "--n_epochs", "2", batches=4) as training:
        shares = []
        for number in range(8):
            shares.append(training.share_done)
            training.step(batch(number), [])
        assert shares == pytest.approx([n / 8 for n in range(8)])
        assert training.share_done == 1


def test_the_share_done_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [1000.0]
    monkeypatch.setattr("util.training.loop.time.monotonic", lambda: now[0])
    progress = Progress(epoch=2, step=10, seconds=30.0)
    with start(tmp_path, "--max_minutes", "2", progress=progress, batches=100) as training:
        assert training.share_done == pytest.approx(0.25)
        now[0] += 60
        # Time counts as of the last step: all that follows from it agrees.
        assert training.seconds == 30
        training.step(batch(1), [])
        assert training.seconds == pytest.approx(90)
        assert training.share_done == pytest.approx(0.75)
        assert not training.out_of_time
        now[0] += 30
        training.step(batch(2), [])
        assert training.out_of_time
        assert training.share_done == 1


def test_a_resumed_training_that_had_its_time_has_no_epoch_left(tmp_path: Path):
    progress = Progress(epoch=2, step=10, seconds=120.0)
    argv = ["--n_epochs", "9"]
    with start(tmp_path, *argv, "--max_minutes", "2", progress=progress) as training:
        assert not list(training.epochs)
    with start(tmp_path, *argv, "--max_minutes", "3", progress=progress) as training:
        assert list(training.epochs) == list(range(2, 10))


def test_the_learning_rate_follows_the_share(tmp_path: Path):
    argv = ["--lr_policy", "clock", "--lr", "0.1", "--n_epochs", "1"]
    with start(tmp_path, *argv, batches=10) as training:
        rates = []
        for number in range(10):
            training.step(batch(number), [])
            rates.append(training.model.rate)
    assert rates[1:5] == pytest.approx([0.1] * 4)
    assert rates[7] == pytest.approx(0.05)


def test_who_stops_it_is_told_what_is_kept(tmp_path: Path):
    for steps, told in (
        (2, "stopped at step 2; no checkpoint was saved yet: the first is at the end of an epoch"),
        (5, "stopped at step 5; --continue_train goes on from step 3 ("),
    ):
        with (
            pytest.raises(KeyboardInterrupt),
            start(tmp_path, "--save_latest_freq", "3", "--batch_size", "1") as training,
        ):
            for number in range(steps):
                training.step(batch(number), [])
            raise KeyboardInterrupt
        assert log_of(tmp_path)[-1].startswith(told)


def test_pictures_are_optional(tmp_path: Path):
    with start(tmp_path, "--add_image", "False") as training:
        training.step(batch(1), [])
        training.validate([batch(2)])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "logs"))
    found.Reload()
    assert found.Tags()["images"] == []
    assert "train/all" in found.Tags()["scalars"]


def test_a_split_training_equals_one_in_one_go(tmp_path: Path):
    argv = ["--lr", "0.05", "--lr_policy", "cosine", "--n_epochs", "2"]
    options = parse_command(GROUPS, argv)

    def epoch(training: Training, number: int, first: int = 0) -> None:
        for k in range(first, 4):
            training.step(batch(4 * number + k), [])
        training.end_epoch(number, [batch(3)])

    with Training(model_of(options), options, tmp_path / "whole", 4, Progress()) as training:
        epoch(training, 1)
        epoch(training, 2)
    whole = load_checkpoint(tmp_path / "whole" / "epoch_2.pth", ("net_colour",))

    with Training(model_of(options), options, tmp_path / "parts", 4, Progress()) as training:
        epoch(training, 1)
        training.step(batch(8), [])
        training.save("latest")
    model = model_of(options)
    progress = resume_training(tmp_path / "parts" / "epoch_latest.pth", model, options)
    assert (progress.epoch, progress.batches, progress.step) == (2, 1, 5)
    with Training(model, options, tmp_path / "parts", 4, progress) as training:
        epoch(training, 2, first=progress.batches)
    parts = load_checkpoint(tmp_path / "parts" / "epoch_2.pth", ("net_colour",))
    assert torch.equal(parts["net_colour"]["colour"], whole["net_colour"]["colour"])
    assert parts["progress"]["step"] == whole["progress"]["step"] == 8
    assert parts["opt_00"]["param_groups"][0]["lr"] == whole["opt_00"]["param_groups"][0]["lr"]


def met(found: BadImages, *numbers: int) -> None:
    """Let a loader meet bad images."""
    loaded = [(batch(), [(number, f"photo {number} is damaged") for number in numbers])]
    assert len(list(found.watch(loaded))) == 1


def start_with(folder: Path, found: BadImages, *argv: str, progress: Progress) -> Training:
    options = parse_command(GROUPS, argv)
    return Training(model_of(options), options, folder, 9, progress, [found])


def test_bad_images_are_named_once_a_few_of_them_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    found = BadImages(100)
    with start_with(tmp_path, found, "--n_epochs", "3", progress=Progress()) as training:
        for epoch in (1, 2):
            met(found, *range(20))
            training.step(batch(1), [])
            training.step(batch(2), [])
            training.end_epoch(epoch, [])
        training.step(batch(3), [])
        training.end_epoch(3, [])
        named = training.bad_images_named()
    assert named.startswith("Images that could not be used: photo 0 is damaged; photo 1 is damaged")
    assert named.endswith(f"photo 7 is damaged; 12 more are named in {tmp_path / 'loss_log.txt'}")
    log = "\n".join(log_of(tmp_path))
    for number in range(20):
        assert log.count(f"step 1: an image is replaced: photo {number} is damaged") == 1
    assert "20 images of epoch 1 could not be used" in log
    assert "20 images of epoch 2 could not be used" in log and "of epoch 3" not in log
    shown = capsys.readouterr().out
    assert shown.count("is damaged") == 8
    assert shown.count("more images cannot be used; all are named in") == 1


def test_bad_images_are_counted_across_a_resume(tmp_path: Path):
    """Two before it and two after it are four of the epoch; one that is met again is no other."""
    found, limit = BadImages(3), ["--max_bad_images", "3", "--save_latest_freq", "1"]
    with start_with(tmp_path, found, *limit, progress=Progress()) as training:
        met(found, 4, 7)
        training.step(batch(1), [])
    options = parse_command(GROUPS, limit)
    progress = resume_training(tmp_path / "epoch_latest.pth", model_of(options), options)
    assert progress.bad_images == {"train 4": 1, "train 7": 1}
    found = BadImages(3)
    with start_with(tmp_path, found, *limit, progress=progress) as training:
        met(found, 7, 5)
        training.step(batch(2), [])
        met(found, 6)
        with pytest.raises(InputError, match=r"4 images of this epoch .* --max_bad_images 3 "):
            training.step(batch(3), [])
    assert sum("photo 7 is damaged" in line for line in log_of(tmp_path)) == 1
    # Another epoch has a count of its own.
    progress = replace(progress, epoch=2)
    with start_with(tmp_path, found, *limit, progress=progress) as training:
        met(found, 1, 2, 3)
        training.step(batch(4), [])


def test_warnings_reach_the_log_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with start(tmp_path) as training:
        signs = {
            "mask_share": torch.tensor([0.002, 2]),
            "beyond_3_sigma.identity": torch.tensor([1.2, 4]),
            "landmark_px2": torch.zeros(2),  # of no face
        }
        monkeypatch.setattr(training.model, "signs", lambda: signs)
        for number in range(40):
            training.step(batch(number), [])
    warnings = [line for line in log_of(tmp_path) if line.startswith("warning: step 10: ")]
    assert len(warnings) == 2 == sum(line.startswith("warning") for line in log_of(tmp_path))
    assert "0.1% of the picture" in warnings[0] and "30% of the identity" in warnings[1]
