"""What the README promises at first sight."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_two_blocks_are_the_two_commands():
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.S | re.M)
    assert [block.splitlines() for block in blocks[:2]] == [
        ["python3 quickstart.py"],
        ["python3 quickstart.py --tests"],
    ]


def test_no_figure_is_missing():
    assert not re.findall(r"@\w+@|TBD|XXX", README)


def test_links_and_named_files_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert "docs/images/portraits.jpg" in links
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", README)
    assert len(named) > 8
    # What a user's own runs make is not in the repository.
    made = ("checkpoints/mine", "my_photos/", "datasets/", "datalist/")
    for path in [*links, *named]:
        if not path.startswith(made):
            assert (ROOT / path).exists(), path


def test_configs_that_are_named_are_read():
    from options.flags import config_flags

    for path in re.findall(r"configs/\w+\.yaml", README):
        assert config_flags(ROOT / path)
