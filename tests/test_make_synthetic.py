"""The command that makes synthetic faces, end to end."""

import pytest

import make_synthetic
from data.synthetic.coefficients import read_truth
from util.errors import InputError


def test_command_makes_training_and_validation_faces(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--n", "3", "--n_val", "2", "--num_workers", "0", "--out", "faces"]
    make_synthetic.main(flags)
    assert len(list((tmp_path / "faces").glob("*.jpg"))) == 3
    assert len(list((tmp_path / "faces_val/mask").glob("*.png"))) == 2
    train, val = (read_truth(tmp_path / f"{n}/coefficients.npz") for n in ("faces", "faces_val"))
    assert (train.seed, val.seed) == (0, 1)
    listed = (tmp_path / "datalist/faces_val/masks.txt").read_text("utf-8").splitlines()
    assert listed == ["faces_val/mask/000000.png", "faces_val/mask/000001.png"]
    assert "3 faces in faces: 3 made, 0 kept" in capsys.readouterr().out

    make_synthetic.main(flags)
    assert "3 faces in faces: 0 made, 3 kept" in capsys.readouterr().out


def test_lists_of_photos_stay(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for mode in ("train", "val"):
        (tmp_path / "datalist" / mode).mkdir(parents=True)
        (tmp_path / "datalist" / mode / "masks.txt").write_text("mine\n", encoding="utf-8")
    make_synthetic.main(["--n", "1", "--n_val", "1", "--num_workers", "0"])
    for mode in ("train", "val"):
        assert (tmp_path / "datalist" / mode / "masks.txt").read_text("utf-8") == "mine\n"
    for name in ("synthetic", "synthetic_val"):
        listed = (tmp_path / "datalist" / name / "masks.txt").read_text("utf-8")
        assert listed == f"datasets/{name}/mask/000000.png\n"


def test_unknown_face_model_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"missing\.npz"):
        make_synthetic.main(["--face_model", "missing.npz"])


def test_parts_and_maps_by_command(tmp_path, monkeypatch, capsys) -> None:
    """Random cameras, all maps, two parts and their merger."""
    monkeypatch.chdir(tmp_path)
    flags = ["--n", "2", "--n_val", "0", "--out", "faces", "--num_workers", "0"]
    flags += ["--camera", "random", "--size", "64", "--maps", "all"]
    for part in ("0/2", "1/2"):
        make_synthetic.main([*flags, "--shard", part])
        assert f"Part {part} is made" in capsys.readouterr().out
    assert not (tmp_path / "datalist").exists()
    make_synthetic.main([*flags, "--merge"])
    assert "2 faces in faces: 0 made, 2 kept" in capsys.readouterr().out
    truth = read_truth(tmp_path / "faces/coefficients.npz")
    assert not truth.fixed_camera
    for name in ("parts", "depth", "normals", "mask", "landmarks", "detections"):
        assert len(list((tmp_path / "faces" / name).iterdir())) == 2
    assert (tmp_path / "datalist/faces/images.txt").is_file()


def test_parts_of_a_small_set_each_have_some(tmp_path, monkeypatch, capsys) -> None:
    """Of another layout too, whose heads for validation are so few that one part has them all."""
    monkeypatch.chdir(tmp_path)
    flags = ["--layout", "ddfa", "--n", "12", "--n_val", "1", "--out", "d", "--num_workers", "0"]
    for part, made, said in (
        ("0/2", 10, ["10 faces in d/train_aug_120x120", "1 faces in d/aflw2000_data"]),
        ("1/2", 12, ["2 faces in d/train_aug_120x120", "Part 1/2 has no faces in d/aflw"]),
    ):
        make_synthetic.main([*flags, "--shard", part])
        assert len(list((tmp_path / "d/train_aug_120x120").glob("*.jpg"))) == made
        shown, bars = capsys.readouterr()
        assert all(words in shown for words in said)
        assert "\n0 faces" not in shown and "0face [" not in bars
    assert not (tmp_path / "d/3dmm_data").exists()
    make_synthetic.main([*flags, "--merge"])
    assert "12 faces in d/train_aug_120x120: 0 made, 12 kept" in capsys.readouterr().out
    assert (tmp_path / "d/3dmm_data/param_all_norm_v201.pkl").is_file()


def test_pictures_that_cannot_be_used_are_named(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bad.png").write_bytes(b"no picture")
    flags = ["--n", "3", "--n_val", "0", "--num_workers", "0", "--backgrounds", "mine"]
    make_synthetic.main(flags)
    assert "Background left out: mine" in capsys.readouterr().out
    with pytest.raises(InputError, match="--backgrounds nowhere does not exist"):
        make_synthetic.main([*flags, "--backgrounds", "nowhere"])


def test_a_head_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--face_region head is for exports; give --face_region "):
        make_synthetic.main(["--face_region", "head", "--n", "1", "--n_val", "0"])
