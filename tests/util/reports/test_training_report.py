"""The report of a training: what it shows, and what a real browser makes of it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from models.template_model import TemplateModel
from options import ParsedOptions
from options.base_options import BaseOptions
from options.flags import parse_command
from options.train_options import LoaderOptions, TrainOptions
from tests.browser import find_chromium, hand_on
from tests.util.reports.page_elements import Page
from util.reports.training_report import TrainingReport, duration
from util.training.run_history import RunHistory
from util.training.run_pictures import RunPictures
from util.training.training_state import Progress

GROUPS = (BaseOptions, TrainOptions, LoaderOptions, *TemplateModel.option_groups)


def options_of(*argv: str) -> ParsedOptions:
    return parse_command(GROUPS, ["--model", "template", *argv])


def history_of(points: int = 40) -> RunHistory:
    """Two terms that fall, with a validation now and then."""
    history, rng = RunHistory(), np.random.default_rng(1)
    history.take("================ 2026-01-02 03:04:05 ================")
    for step in range(1, points + 1):
        lm, gamma = 5 * np.exp(-step / 12) * rng.uniform(0.8, 1.2), 1e-4 / step
        terms = f"all: {lm + gamma:.4f} lm: {lm:.4f} gamma: {gamma:.2e}"
        epoch = 1 + (step - 1) // 10
        history.take(f"(train, epoch {epoch}, step {step}, lr 1.00e-04) {terms}")
        if step % 10 == 0:
            history.take(f"(val, epoch {epoch}, step {step}, lr 1.00e-04) {terms}")
            history.take(f"epoch {epoch} ends at step {step} after {90.0 * epoch:.1f} s")
    history.take("warning: step 20: <b>the landmark loss</b> stands still")
    return history


def report(folder: Path, history: RunHistory, *argv: str) -> TrainingReport:
    return TrainingReport(folder, options_of(*argv), history)


PROGRESS = Progress(epoch=5, step=40, seconds=360.0)


def test_the_page_holds_the_whole_run(tmp_path: Path):
    text = report(tmp_path, history_of(), "--lr", "0.5").page(PROGRESS, 8, 0.5)
    page = Page(text)
    data = json.loads(page.scripts[0])
    assert data["train"]["steps"] == list(range(1, 41)) and data["val"]["steps"] == [10, 20, 30, 40]
    assert list(data["terms"]) == ["all", "lm", "gamma"]
    assert data["train"]["losses"]["gamma"][3] == pytest.approx(2.5e-5)
    assert data["epoch_numbers"] == [1, 2, 3, 4] and data["epoch_minutes"] == [1.5] * 4
    assert "about 6 min left" in text and "running" in text
    assert re.search(r"Epoch</dt><dd>4<small>of 8", text)
    assert re.search(r"--lr</th><td>0\.5 \(default ", text) and "--batch_size" not in text
    assert "&lt;b&gt;the landmark loss" in text and "Look closer" in text
    assert "b" not in [tag for tag, _ in page.elements]
    assert not page.attribute("script", "src") and not page.attribute("link", "href")


def test_names_are_only_text(tmp_path: Path):
    folder = tmp_path / 'a <script>alert(1) "ü" & b'
    folder.mkdir()
    page = Page(report(folder, history_of()).page(PROGRESS, 8, 0.5))
    assert len(page.scripts) == 4 and json.loads(page.scripts[0])["phase"] == "training"


def test_an_empty_run_has_a_page_too(tmp_path: Path):
    text = report(tmp_path, RunHistory()).page(Progress(), 8, 0.0, "stopped", "no disk")
    assert "Stopped: no disk" in text and json.loads(Page(text).scripts[0])["terms"] == {}


def test_rates_are_those_of_validations_too(tmp_path: Path):
    """A run whose epochs are shorter than --print_freq logs little else; each step counts once."""
    history = RunHistory()
    for line in (
        "(train, epoch 1, step 1, lr 1.00e-04) all: 3.0",
        "(val, epoch 1, step 10, lr 5.00e-05) all: 2.0",
        "(val, epoch 2, step 20, lr 2.50e-05) all: 2.0",
        "(train, epoch 3, step 25, lr 2.50e-05) all: 1.0",
        "(val, epoch 3, step 25, lr 2.50e-05) all: 2.0",
    ):
        history.take(line)
    data = json.loads(Page(report(tmp_path, history).page(PROGRESS, 8, 0.5)).scripts[0])
    assert data["steps"] == [1, 10, 20, 25] and data["epochs"] == [1, 1, 2, 3]
    assert data["rates"] == [1e-4, 5e-5, 2.5e-5, 2.5e-5]


def test_losses_that_are_no_numbers_are_gaps(tmp_path: Path):
    history = history_of(3)
    history.take("(val, epoch 1, step 3, lr 1.00e-04) all: nan lm: inf")
    data = json.loads(Page(report(tmp_path, history).page(PROGRESS, 8, 0.5)).scripts[0])
    assert data["val"]["losses"] == {"all": [None], "lm": [None]}


def test_pages_stay_below_three_megabytes(tmp_path: Path):
    """Though the pictures are noise and the run is long."""
    shelf, noise = RunPictures(tmp_path), torch.rand(4, 3, 224, 672)
    shelf.add("val", 1, noise)
    content = shelf.of("val")[1].read_bytes()
    for step in range(2, 37):
        (tmp_path / "pictures" / f"val_{step:09d}.jpg").write_bytes(content)
    history = RunHistory()
    terms = " ".join(f"term_{k}: 0.12345" for k in range(14))
    for step in range(1, 3001):
        history.take(f"(train, epoch 1, step {step}, lr 1.00e-04) all: 1.0 {terms}")
    text = report(tmp_path, history).page(PROGRESS, 8, 0.5)
    data = json.loads(Page(text).scripts[0])
    assert len(text) < 3_000_000
    shown = [picture["step"] for picture in data["pictures"]]
    assert shown[-1] == 36 and len({b - a for a, b in pairwise(shown)}) == 1


def test_validations_that_follow_fast_do_not_each_write(tmp_path: Path):
    writer = report(tmp_path, history_of())
    assert writer.write(PROGRESS, 8, 0.5)
    assert not writer.write(PROGRESS, 8, 0.5)
    assert writer.write(PROGRESS, 8, 0.5, "finished")
    assert "finished" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_options_unlike_the_defaults():
    changed = options_of("--batch_size", "4", "--lr", "0.1").changed()
    assert changed["batch_size"] == (4, 32)
    assert set(changed) == {"model", "batch_size", "lr"}


def test_durations():
    said = [duration(seconds) for seconds in (0.4, 89, 91, 5399, 5400, 90061)]
    assert said == ["0 s", "89 s", "2 min", "1 h 30 min", "1 h 30 min", "25 h 1 min"]


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


HAND = """
  const lines = (chart) => [...chart.svg.querySelectorAll('.line')].map((l) => l.getAttribute('d'));
  const found = { titles: losses.map((c) => c.title), lines: losses.map((c) => lines(c).length) };
  const linear = lines(losses[0])[0], ticks = losses[0].svg.textContent;
  found.length = linear.length;
  document.querySelector('[data-log="1"]').click();
  found.log = lines(losses[0])[0] !== linear && losses[0].svg.textContent !== ticks;
  document.querySelector('[data-log=""]').click();
  found.back = lines(losses[0])[0] === linear;
  move($('smooth'), 0.9);
  found.smooth = lines(losses[0])[0] !== linear && losses[0].svg.querySelectorAll('.raw').length;
  move($('smooth'), 0);
  const svg = losses[1].svg, box = svg.getBoundingClientRect();
  const at = { clientX: box.left + losses[1].toX(17), clientY: box.top + 9, bubbles: true };
  svg.dispatchEvent(new PointerEvent('pointermove', at));
  found.here = $('here').textContent;
  found.values = losses.map((c) => c.values[0].textContent);
  press(svg, 'ArrowRight');
  found.next = $('here').textContent;
  const image = $('picture');
  await image.decode();
  const shown = (source) => { const c = document.createElement('canvas').getContext('2d');
    c.drawImage(source, 0, 0); return c.getImageData(5, 5, 1, 1).data[0]; };
  found.newest = [shown(image), image.alt];
  move($('when'), 0);
  await image.decode();
  found.oldest = [shown(image), $('caption').textContent];
  found.rate = schedule[0].series[0].x.length;
  found.schedule = schedule.map((c) => lines(c)[0].length > 10);
  return found;
"""


def test_a_browser_draws_curves_and_pictures(chromium: str, tmp_path: Path):
    folder = tmp_path / "run #1 é"
    folder.mkdir()
    shelf = RunPictures(folder)
    for step, value in ((10, 0.2), (40, 0.9)):
        shelf.add("val", step, torch.full((2, 3, 32, 96), value))
    history = history_of()
    history.take("(val, epoch 5, step 45, lr 5.00e-05) all: 1.0 lm: 1.0 gamma: 0.0")
    report(folder, history).write(PROGRESS, 8, 0.5)
    found, _ = hand_on(chromium, folder / "report.html", tmp_path / "profile", hand=HAND)
    assert found["titles"] == ["Total", "Landmarks (lm)", "Light (gamma)"]
    assert found["lines"] == [2, 2, 2] and found["length"] > 200
    assert found["log"] and found["back"] and found["smooth"] == 1
    assert found["here"] == "step 17, epoch 2" and found["next"] == "step 18, epoch 2"
    assert float(found["values"][2]) == pytest.approx(1e-4 / 17, rel=0.02)
    assert found["newest"][0] == pytest.approx(230, abs=3)
    assert "after step 40 (epoch 4)" in found["newest"][1]
    assert found["oldest"][0] == pytest.approx(51, abs=3)
    assert found["oldest"][1] == "After step 10 (epoch 1)"
    assert found["schedule"] == [True, True] and found["rate"] == 41
