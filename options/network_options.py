"""Options of the networks, and of how they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ReconstructionNetOptions:
    """The R-Net, which predicts the coefficients."""

    net_recon: Literal["resnet18", "resnet34", "resnet50", "dlib"] = "resnet50"
    """Architecture: dlib starts from dlib's recognition network and learns most in few minutes."""
    init_path: str = "checkpoints/init_model/resnet50-0676ba61.pth"
    """ImageNet weights to start from, in torchvision's file format; without them it starts from
    random ones. The dlib architecture starts from dlib's installed file instead."""
    use_last_fc: bool = False
    """Predict all coefficients by one linear layer instead of seven heads (resnet only)."""

    def __post_init__(self) -> None:
        """Refuse a combination that no network has."""
        if self.use_last_fc and self.net_recon == "dlib":
            raise ValueError("--use_last_fc needs a resnet: --net_recon dlib has heads only")


@dataclass(frozen=True)
class RecognitionOptions:
    """The recognition network of the identity loss."""

    net_recog: Literal["auto", "dlib", "r18", "r34", "r50", "r100", "none"] = "auto"
    """Network: r18 to r100 are ArcFace's and need net_recog_path, dlib comes with the dependencies;
    auto takes ArcFace's if the file is there, else dlib; none switches the loss off."""
    net_recog_path: str = "checkpoints/recog_model/ms1mv3_arcface_r50_fp16/backbone.pth"
    """ArcFace weights: insightface's backbone.pth or .onnx, such as w600k_r50.onnx; the file shows
    which of r18 to r100 it is."""


Architecture = Literal[
    "mobilenet_v2",
    "mobilenet_2",
    "mobilenet_1",
    "mobilenet_075",
    "mobilenet_05",
    "mobilenet_025",
    "resnet50",
    "ghostnet",
]
RESIDUAL_SCALE = 0.05


@dataclass(frozen=True)
class SynergyOptions:
    """SynergyNet and its losses."""

    arch: Architecture = "mobilenet_v2"
    """Backbone."""
    public: bool = False
    """Train as the public code does, with its slips: refinement and way back end in ReLU, and the
    losses of the way back compare the wrong numbers."""
    cycle: bool = True
    """Refine the landmarks and go back to parameters; False trains the regressor alone."""
    residual_scale: float = RESIDUAL_SCALE
    """Pixels that 1 of the refinement moves a landmark."""
    use_rot_inv: bool = False
    """Let the refinement begin with vector neurons, as the datatool's fork does by default."""
    w_coarse: float = 0.05
    """Weight of the landmarks of the regressed parameters (wing loss)."""
    w_refined: float = 0.05
    """Weight of the refined landmarks (wing loss)."""
    w_param: float = 0.02
    """Weight of the regressed parameters."""
    w_reverse: float = 0.02
    """Weight of shape and expression from the refined landmarks, against the label."""
    w_consistency: float = 0.001
    """Weight of shape and expression from the refined landmarks, against the regressed ones."""

    def __post_init__(self) -> None:
        """Refuse weights that would turn a loss around."""
        for flag in ("w_coarse", "w_refined", "w_param", "w_reverse", "w_consistency"):
            if not getattr(self, flag) >= 0:
                raise ValueError(f"--{flag} is {getattr(self, flag)}; it must be 0 or more")


@dataclass(frozen=True)
class SynergyModelOptions:
    """Which SynergyNet, and the face model that its numbers mean."""

    weights: str = ""
    """Checkpoint file, such as SynergyNet's best.pth.tar; else that of --name and --epoch."""
    mm_folder: str = ""
    """Folder 3dmm_data: the face model of weights that were trained with it, triangles for meshes,
    texture coordinates; where it is not given, ./3dmm_data is used if it is there."""


@dataclass(frozen=True)
class OptimiserOptions:
    """Optimiser, learning rate, length of the training."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Adam as in the paper, AdamW as in the quick recipe, SGD with Nesterov's momentum as for
    SynergyNet."""
    n_epochs: int = 20
    """Epochs in all."""
    epoch_count: int = 1
    """Number of the first epoch; files are named epoch_<number>.pth."""
    lr: float = 1e-4
    """Initial learning rate."""
    lr_policy: Literal["linear", "step", "plateau", "cosine", "milestones", "clock"] = "step"
    """Schedule by epoch; clock (warm-up, constant, linear to 0) by the share of training done."""
    lr_decay_epochs: int = 10
    """Epochs between divisions by 5 under --lr_policy step."""
    milestones: tuple[int, ...] = (48, 64)
    """Epochs after which --lr_policy milestones divides by 5."""
    warmup: int = 5
    """First epochs at a fifth of the rate under --lr_policy milestones; 0 or less for none."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float | None = None
    """Pull of weights to zero; none takes the optimiser's default, 0.01 of AdamW and else 0."""
    beta1: float = 0.9
    """First-moment decay."""
    beta2: float = 0.999
    """Second-moment decay."""
    grad_clip: float = 0.0
    """Largest norm of the whole gradient; 0 leaves it as it is."""
    amp: Literal["none", "bf16", "fp16", "auto"] = "none"
    """Precision of the R-Net: float32, bfloat16 or, on GPUs, float16 with scaled gradients; auto
    takes bfloat16 on a CPU that computes it natively. Geometry, rendering and losses stay in
    float32."""
    compile: bool = False
    """Compile the network (torch.compile; on one GPU as CUDA graphs): a minute at the start and a
    C++ compiler for faster steps on GPUs."""

    def __post_init__(self) -> None:
        """Refuse learning rates that diverge or stand still."""
        if not 0 < self.lr < 10:
            raise ValueError(f"--lr is {self.lr}; it must lie between 0 and 10, such as 1e-4")
        for flag in ("n_epochs", "epoch_count", "lr_decay_epochs"):
            if getattr(self, flag) < 1:
                raise ValueError(f"--{flag} is {getattr(self, flag)}; it must be at least 1")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"--milestones are {self.milestones}; each must be after the last")
        if self.weight_decay is not None and not 0 <= self.weight_decay < 1:
            raise ValueError(f"--weight_decay is {self.weight_decay}; it must lie in [0, 1)")
        for flag in ("beta1", "beta2", "momentum"):
            if not 0 <= getattr(self, flag) < 1:
                raise ValueError(f"--{flag} is {getattr(self, flag)}; it must lie in [0, 1)")
        # A negative limit would turn the gradient around.
        if not self.grad_clip >= 0:
            raise ValueError(f"--grad_clip is {self.grad_clip}; it must be 0 or more")
