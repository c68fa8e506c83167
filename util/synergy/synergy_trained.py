"""Load a SynergyNet as its users need it: weights, face model, device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.networks.folding import fold_batch_norms
from models.synergy.network import SynergyNetwork
from options.base_options import BaseOptions
from options.face_options import FaceModelOptions
from options.flags import ParsedOptions
from options.network_options import SynergyModelOptions
from util.devices import choose_device
from util.errors import InputError
from util.photos.results import results_folder
from util.reports.reported_run import checkpoint_row
from util.synergy.synergy_checkpoint import FaceFiles, load_synergy
from util.training.run_choice import find_trained


@dataclass(frozen=True)
class TrainedSynergy:
    """A network that is ready to predict."""

    network: SynergyNetwork
    path: Path
    """Of its checkpoint."""
    mm_folder: Path | None
    """The folder 3dmm_data, if there is one."""
    device: torch.device

    @property
    def said(self) -> dict[str, str]:
        """Rows of reports."""
        crops = f"crops of {self.network.meaning.image_px} px"
        return {
            "Network": f"SynergyNet, {self.network.arch}, {crops}",
            **checkpoint_row(self.path),
        }

    def results_folder(self, owner: Path, name: str) -> Path:
        """Where results go unless a folder is given; as of all networks.

        Args:
            owner: folder of the photos, or of the video.
            name: of the photos' folder, or of the video.
        """
        epoch = self.path.name.partition(".")[0].removeprefix("epoch_")
        return results_folder(self.path.parent, owner, name, epoch)

    def predict(self, crops: np.ndarray) -> Tensor:
        """Parameters (B, P), not whitened, of crops (B, S, S, 3) uint8 RGB."""
        batch = torch.from_numpy(crops).permute(0, 3, 1, 2).to(self.device).float() / 255.0
        return self.network.predict(batch.contiguous(memory_format=torch.channels_last))

    def need_triangles(self) -> None:
        """Refuse to draw or write a mesh that nobody knows the triangles of.

        Raises:
            InputError: the checkpoint has none, and no folder gives them.
        """
        if not len(self.network.face.triangles):
            raise InputError(
                f"{self.path} holds vertices but no triangles, which meshes need; give --mm_folder "
                "3dmm_data with tri.mat of 3DDFA (visualize/tri.mat) or SynergyNet"
            )


def load_trained_synergy(options: ParsedOptions) -> TrainedSynergy:
    """The network that the options name, in inference mode, on its device.

    Raises:
        InputError: no such checkpoint, one of another model, or no face model for it.
    """
    base, chosen = options[BaseOptions], options[SynergyModelOptions]
    path = find_trained(options)
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    folder = Path(chosen.mm_folder or "3dmm_data")
    there = folder if chosen.mm_folder or folder.is_dir() else None
    network = load_synergy(path, FaceFiles(there, options[FaceModelOptions]))
    network.requires_grad_(False)
    network.to(device).eval()
    fold_batch_norms(network.regressor)
    network.regressor.to(memory_format=torch.channels_last)  # pyright: ignore
    return TrainedSynergy(network, path, there, device)
