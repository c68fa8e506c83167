"""Commands of 3DMM-Fitting-Pytorch: flags, what they become, and the files that come out."""

from __future__ import annotations

import pickle
import pickletools
import re
import subprocess
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from data.images import read_image
from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.energy import landmark_shares
from models.renderer import Renderer
from models.stages import reconstruct
from options import parse_command
from options.base_options import BaseOptions
from options.face_options import FaceModelOptions
from options.fit_options import FitOptions, VideoFitOptions, chosen_schedule, chosen_weights
from options.fitting_weights import PUBLIC_WEIGHTS, FitWeights, TrackWeights
from options.flags import NO_EFFECT, ParsedOptions, flag_names
from options.public_fitting import PHOTO_GROUPS, VIDEO_GROUPS, FitCall, photo_call, video_call
from tests.bfm_files import SMALL, write_small_sources
from tests.commands import load_script, load_tool
from tests.test_fit_command import folder, photos  # noqa: F401 - fixtures
from tests.video_files import write_file
from util import assets
from util.errors import InputError
from util.model_files import bfm_conversion
from util.model_files.bfm_conversion import convert_bfm09
from util.photos.public_fit_files import write_photo_files

ROOT = Path(__file__).resolve().parents[2]
fit = load_script("fit")
FIT_FLAGS = flag_names(fit.GROUPS)

# Of the public repository, counted from core/options.py: what nobody may drop unnoticed.
SHARED = {
    "tar_size": 256,
    "padding_ratio": 0.3,
    "recon_model": "bfm09",
    "first_rf_iters": 1000,
    "first_nrf_iters": 500,
    "rest_rf_iters": 50,
    "rest_nrf_iters": 30,
    "rf_lr": 0.01,
    "nrf_lr": 0.01,
    "lm_loss_w": 100.0,
    "rgb_loss_w": 1.6,
    "id_reg_w": 0.001,
    "exp_reg_w": 0.0008,
    "tex_reg_w": 1.7e-6,
    "rot_reg_w": 1.0,
    "trans_reg_w": 1.0,
    "tex_w": 1.0,
    "cache_folder": "fitting_cache",
    "nframes_shape": 16,
}
REQUIRED = {"res_folder", "img_path", "v_path"}
PHOTO = {**SHARED, "res_folder": "out", "img_path": "a.jpg", "gpu": 0}
VIDEO = {**SHARED, "res_folder": "out", "v_path": "a.mp4", "ngpus": 1, "nworkers": 1}
A_PHOTO = ["--img_path", "a.jpg", "--res_folder", "out"]
A_VIDEO = ["--v_path", "a.mp4", "--res_folder", "out"]
OURS = {"bfm_folder"}

RUN = ["--num_cpu_threads", "1", "--face_model", "open@0", "--preset", "fast"]


fit_single_img, fit_video = (
    load_tool("3dmm_fitting", name) for name in ("fit_single_img", "fit_video")
)
convert = load_tool("3dmm_fitting", "convert_bfm09_data")


def photo(*argv: str) -> FitCall:
    return photo_call([*A_PHOTO, *argv], FIT_FLAGS)


def video(*argv: str) -> FitCall:
    return video_call([*A_VIDEO, *argv], FIT_FLAGS)


def understood(call: FitCall) -> ParsedOptions:
    """As fit.py reads what it is called with."""
    return parse_command(fit.GROUPS, call.argv)


class TestFlags:
    @pytest.mark.parametrize("call, public", [(photo, PHOTO), (video, VIDEO)])
    def test_all_have_the_public_default(self, call, public: dict[str, object]):
        options = call().options.flat()
        assert {name: options[name] for name in public} == public
        assert options.keys() - public.keys() == OURS

    @pytest.mark.parametrize("call, public", [(photo, PHOTO), (video, VIDEO)])
    def test_all_may_be_given(self, call, public: dict[str, object]):
        given = call(*(f"--{name}={value}" for name, value in public.items()))
        assert given.options.flat().items() >= public.items()
        understood(given)

    def test_the_page_lists_them(self):
        page = (ROOT / "docs" / "fitting_flags.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `--(\w+)` \| (.*?) \| `?(.*?)`? \| (.*?) \| ", page, re.M)
        listed = {
            (name, command): (default, state)
            for name, commands, default, state in rows
            for command in commands.split(", ")
        }
        public = {"photo": PHOTO, "video": VIDEO}
        silent = {"photo": without_effect(PHOTO_GROUPS), "video": without_effect(VIDEO_GROUPS)}
        assert listed.keys() == {(name, key) for key, flags in public.items() for name in flags}
        for (name, command), (default, state) in listed.items():
            value = "required" if name in REQUIRED else str(public[command][name])
            assert default == value, name
            assert (state == "no effect") == (name in silent[command]), (name, command)

    def test_what_has_no_effect_is_said_once(self, capsys: pytest.CaptureFixture[str]):
        given = video("--tar_size", "224", "--first_nrf_iters=100")
        chosen_schedule(understood(given))
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith("--tar_size has no effect: the crop is 224 pixels wide")
        assert lines[1].startswith("--first_nrf_iters has no effect: Gauss-Newton takes a few")
        chosen_schedule(understood(photo("--rf_lr", "0.02", "--rest_rf_iters", "3")))
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["--rest_rf_iters", "--rf_lr"]

    def test_flags_of_fit_are_taken_and_win(self):
        options = understood(photo("--preset", "best", "--same_person", "--face_model=open@0"))
        assert options[FitOptions].preset == "best" and options[FitOptions].same_person
        assert options[FaceModelOptions].face_model == "open@0"
        assert understood(photo("--gpu", "-1"))[BaseOptions].gpu_ids == "-1"

    def test_bad_ones_are_errors_that_name_them(self):
        cases = {
            ("--lm_los_w", "3"): "--lm_los_w .did you mean --lm_loss_w",
            ("--rest_rf", "3"): "did you mean --rest_rf_iters",
            ("--prest", "fast"): "did you mean --preset",
            ("--gpu", "one"): "--gpu: invalid int value: 'one'",
            ("--gpu", "--tex_w", "1"): "--gpu: expected one argument",
        }
        for argv, message in cases.items():
            with pytest.raises(InputError, match=message):
                photo(*argv)
        for argv, name in ((A_PHOTO[:2], "res_folder"), (A_PHOTO[2:], "img_path")):
            with pytest.raises(InputError, match=f"--{name} is missing"):
                photo_call(argv, FIT_FLAGS)
        with pytest.raises(InputError, match="--v_path is missing"):
            video_call(A_VIDEO[2:], FIT_FLAGS)
        with pytest.raises(InputError, match=r"--near_rotation is -1\.0; it must be a number"):
            understood(video("--rot_reg_w", "-1"))


def without_effect(groups: tuple[type, ...]) -> set[str]:
    return {f.name for group in groups for f in fields(group) if NO_EFFECT in f.metadata}


def test_each_public_defect_has_its_line_and_its_test():
    page = (ROOT / "docs" / "fitting_flags.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| .+ \| .+ \| (.+) \|$", page, re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 13))
    assert all("::" in tests and "test_" in tests for _, tests in rows)


class TestMeaning:
    def test_default_weights_are_the_public_ones(self):
        assert chosen_weights(understood(photo())) == PUBLIC_WEIGHTS
        assert chosen_weights(understood(video())) == PUBLIC_WEIGHTS

    def test_weights_count_in_our_units(self):
        typed = (
            "--lm_loss_w 50 --rgb_loss_w 2 --id_reg_w 3 --exp_reg_w 4 --tex_reg_w 5e-7 --tex_w 6"
        )
        weights = chosen_weights(understood(photo(*typed.split())))
        assert weights.w_landmarks == pytest.approx(50 / 224**2, rel=1e-12)
        assert weights == replace(
            PUBLIC_WEIGHTS,
            w_landmarks=weights.w_landmarks,
            w_photo=2.0,
            w_identity=3.0,
            w_expression=4.0,
            w_texture=5e-7,
            w_reflectance=6.0,
        )

    def test_our_weights_may_be_asked_for(self):
        assert chosen_weights(understood(photo("--weights", "own"))) == FitWeights()
        mixed = chosen_weights(understood(photo("--weights", "own", "--id_reg_w", "2")))
        assert mixed == FitWeights(w_identity=2.0)

    def test_the_landmark_term_is_the_public_one(self):
        """sum_k w_k |d_k / size|^2 with w 1, 10 at bridge and mouth, sum 1; for any distances."""
        random = np.random.default_rng(3)
        squared = (random.normal(size=(68, 2)) ** 2).sum(axis=1)
        shares = np.ones(68)
        shares[28:31] = shares[48:68] = 10
        public = 70 * (shares / shares.sum() * squared / 224**2).sum()
        weights = chosen_weights(understood(photo("--lm_loss_w", "70")))
        ours = weights.w_landmarks * (landmark_shares(weights).double().numpy() * squared).sum()
        assert ours == pytest.approx(public, rel=1e-6)

    def test_tracking_is_held_to_the_frame_before(self):
        track = understood(video("--rot_reg_w", "30", "--trans_reg_w", "0"))[TrackWeights]
        assert track == TrackWeights(near_rotation=30.0, near_translation=0.0)
        track = understood(video())[TrackWeights]
        assert track.near_rotation == track.near_translation == 1.0

    def test_devices_and_workers(self):
        assert understood(photo("--gpu=2"))[BaseOptions].gpu_ids == "2"
        assert understood(photo())[BaseOptions].gpu_ids == "0"
        options = understood(video("--ngpus", "4", "--nworkers", "8", "--nframes_shape", "5"))
        assert options[VideoFitOptions].ngpus == 4
        assert options[VideoFitOptions].nworkers == 8
        assert options[VideoFitOptions].nframes_shape == 5
        # The public default asks for no GPU that may not be there.
        assert not understood(video("--ngpus", "1")).given("ngpus")

    def test_each_video_has_a_cache_of_its_own(self):
        assert understood(video())[VideoFitOptions].cache_folder == str(Path("fitting_cache/a"))
        call = understood(video("--cache_folder", "x"))
        assert call[VideoFitOptions].cache_folder == str(Path("x/a"))

    def test_the_public_schedule_on_demand(self):
        typed = ["--solver", "adam", "--first_rf_iters", "7", "--rf_lr", "0.5"]
        schedule = chosen_schedule(understood(photo(*typed)))
        assert schedule is not None
        assert (schedule.rigid_steps, schedule.steps) == (7, 500)
        assert (schedule.rigid_rate, schedule.rate) == (0.5, 0.01)
        schedule = chosen_schedule(understood(video(*typed, "--rest_nrf_iters", "4")))
        assert schedule is not None
        assert (schedule.rigid_steps, schedule.next_rigid_steps, schedule.next_steps) == (7, 50, 4)

    def test_bfm09_is_taken_where_its_files_are(self, tmp_path: Path, folder: Path):  # noqa: F811
        def chosen(*argv: str) -> FaceModelOptions:
            return understood(photo(*argv))[FaceModelOptions]

        assert chosen().face_model == "auto"
        assert chosen().bfm_folder == str(ROOT / "BFM")
        (tmp_path / "BFM").mkdir()
        assert (chosen().bfm_folder, chosen().bfm_model) == ("BFM", "BFM_model_front.mat")
        (tmp_path / "BFM" / "BFM09_model_info.mat").write_bytes(b"")
        assert chosen().bfm_model == "BFM09_model_info.mat"
        assert chosen("--bfm_folder", "y").bfm_folder == "y"
        assert chosen("--recon_model", "open@2").face_model == "open@2"


class TestPhotos:
    def test_files_are_the_public_ones(
        self,
        photos: Path,  # noqa: F811
        folder: Path,  # noqa: F811
        capsys: pytest.CaptureFixture[str],
    ):
        argv = ["--img_path", str(photos / "a.png"), "--res_folder", "out", *RUN]
        fit_single_img.main([*argv, "--gpu", "-1"])
        out = folder / "out"
        assert "_composed_img.jpg, <name>_coeffs.npy, <name>_mesh.obj too: a" in (
            capsys.readouterr().out
        )
        coefficients = np.load(out / "a_coeffs.npy")
        assert coefficients.shape == (257,) and coefficients.dtype == np.float32
        saved = loadmat(out / "a.mat")
        np.testing.assert_array_equal(coefficients[224:227], saved["angle"][0])
        np.testing.assert_array_equal(coefficients[227:254], saved["gamma"][0])
        assert abs(coefficients[225] - 0.3) < 0.1
        assert read_image(out / "a_composed_img.jpg").shape == (224, 224, 3)
        assert (out / "a_mesh.obj").read_bytes() == (out / "a.obj").read_bytes()
        assert not list(out.glob(".*"))

    def test_a_photo_that_fails_does_not_cost_the_others(self, photos: Path, folder: Path):  # noqa: F811
        (photos / "b.png").write_bytes(b"no picture")
        fit_single_img.main(["--img_path", str(photos), "--res_folder", "out", *RUN])
        out = folder / "out"
        assert [path.name for path in out.glob("*.npy")] == ["a_coeffs.npy"]
        (out / "a_mesh.json").write_text("{}", encoding="utf-8")
        with pytest.raises(InputError, match="is the mesh of a photo named a_mesh"):
            write_photo_files(out, [photos / "a.png"])

    def test_errors_are_those_of_fit(self, folder: Path):  # noqa: F811
        with pytest.raises(InputError, match=r"--img_path a\.jpg does not exist"):
            fit_single_img.main(A_PHOTO)
        with pytest.raises(InputError, match=r"a\.mp4 does not exist"):
            fit_video.main(A_VIDEO)
        with pytest.raises(InputError, match="--init is for photos"):
            fit_video.main([*A_VIDEO, "--init", "regress"])
        assert not list(folder.iterdir())

    def test_it_runs_from_anywhere(self, tmp_path: Path):
        path = ROOT / "tools" / "3dmm_fitting" / "fit_single_img.py"
        command = [sys.executable, str(path), "--res_folder", "out"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 2
        assert done.stderr == "error: --img_path is missing; name the photo: --img_path my.jpg\n"


def rendered_video(path: Path, face_model: FaceModel, count: int = 6) -> Path:
    """A frame without a face, then one that turns slowly."""
    layout = face_model.layout
    flat = torch.zeros(count, layout.size)
    angles = torch.linspace(-0.1, 0.1, count)
    flat[:, layout.slices["angles_rad"]] = torch.stack([0 * angles, angles, 0 * angles], dim=1)
    made = reconstruct(face_model, Renderer(), Camera.rnet(), layout.split(flat))
    assert made.rendering.image is not None
    faces = (made.rendering.image.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
    pictures = np.zeros((count + 1, 240, 320, 3), np.uint8)
    pictures[1:, 8:232, 48:272] = faces
    return write_file(path, list(pictures), options={"crf": "12"})


class TestVideos:
    def test_files_are_the_public_ones(
        self,
        folder: Path,  # noqa: F811
        open_face_model: FaceModel,
        capsys: pytest.CaptureFixture[str],
    ):
        path = rendered_video(folder / "turn.mp4", open_face_model)
        mine = folder / "fitting_cache" / "mine.txt"
        mine.parent.mkdir()
        mine.write_text("keep", encoding="utf-8")
        argv = ["--v_path", str(path), "--res_folder", "out", *RUN]  # of 16 frames for the shape
        fit_video.main([*argv, "--gpu_ids", "-1"])
        out = folder / "out"
        content = (out / "turn_fitting_res.pkl").read_bytes()
        result = pickle.loads(content)
        assert list(result) == ["id", "tex", "fitting_res"]
        assert list(result["fitting_res"]) == list(range(1, 7))
        shapes = {"rot": (1, 3), "trans": (1, 3), "gamma": (1, 27), "exp": (1, 64)}
        for frame in result["fitting_res"].values():
            assert {key: array.shape for key, array in frame.items()} == shapes
            assert all(array.dtype == np.float32 for array in frame.values())
            assert all(array.flags.writeable for array in frame.values())
        assert result["id"].shape == result["tex"].shape == (1, 80)
        with np.load(out / "turn.npz") as arrays:
            for key in ("id", "tex"):
                np.testing.assert_array_equal(arrays[key][1:], np.repeat(result[key], 6, axis=0))
            np.testing.assert_array_equal(result["fitting_res"][4]["rot"], arrays["angle"][4:5])
        yaw = [frame["rot"][0, 1] for frame in result["fitting_res"].values()]
        assert yaw == sorted(yaw) and 0.1 < yaw[-1] - yaw[0] < 0.3
        assert (out / "turn_fit.mp4").is_file()
        page = (out / "turn_report.html").read_text(encoding="utf-8")
        assert 'src="./turn_fit.mp4"' in page and "turn.mp4</h1>" in page
        assert f"{Path('out/turn_fitting_res.pkl')} too" in capsys.readouterr().out
        # What the cache held before stays, what the run put there is gone.
        assert list(mine.parent.iterdir()) == [mine]
        # NumPy 1, as which the public fitter pins it, knows these names.
        names = [arg for op, arg, _ in pickletools.genops(content) if isinstance(arg, str)]
        assert "numpy" in names and not any("numpy." in name for name in names)


def test_bfm09_is_converted_under_the_public_name(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    bfm = folder / "BFM"
    bfm.mkdir()
    with pytest.raises(InputError, match=r"01_MorphableModel\.mat does not exist"):
        convert.main([])
    write_small_sources(bfm)
    small = partial(convert_bfm09, sizes=SMALL)
    monkeypatch.setattr(bfm_conversion, "convert_bfm09", small)
    convert.main([])
    assert "BFM09_model_info.mat is made" in capsys.readouterr().out
    keys = {key for key in loadmat(bfm / "BFM09_model_info.mat") if not key.startswith("__")}
    assert keys == {
        *("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "point_buf"),
        *("tri_mask2", "keypoints", "frontmask2_idx", "skinmask"),
    }
    model, message = assets.choose_face_model(understood(photo())[FaceModelOptions])
    assert model.card.name == "bfm09" and "BFM09_model_info.mat" in message
