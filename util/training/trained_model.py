"""Load the R-Net of a run as its users need it: chosen device, weights, face model."""

from __future__ import annotations

from models import MODELS, create_model
from models.facerecon_model import FaceReconModel
from models.networks.folding import fold_batch_norms
from options import ParsedOptions
from options.base_options import BaseOptions
from util.assets import load_assets
from util.devices import choose_device
from util.errors import InputError
from util.training.checkpoint import load_checkpoint
from util.training.run_choice import find_trained
from util.training.training_state import adopt_card, load_weights


def load_reconstruction_model(options: ParsedOptions) -> tuple[FaceReconModel, ParsedOptions]:
    """The trained model, ready to reconstruct, and the options completed by its checkpoint.

    Raises:
        InputError: no such checkpoint, or one of another model or face model.
    """
    base = options[BaseOptions]
    if not issubclass(MODELS.get(base.model, object), FaceReconModel):
        raise InputError(f"--model {base.model} does not reconstruct faces; take facerecon")
    device = choose_device(base.gpu_ids, base.num_cpu_threads)
    path = find_trained(options)
    checkpoint = load_checkpoint(path)
    options = adopt_card(options, checkpoint, path)
    try:
        assets = load_assets(options)
    except InputError as error:
        if options.given("face_model"):
            raise  # the user's own choice, not the checkpoint's
        raise InputError(f"{path} cannot be used: {error}") from error
    model = create_model(base.model, options, assets, device)
    assert isinstance(model, FaceReconModel)
    load_weights(checkpoint, path, model, options)
    model.eval()
    fold_batch_norms(model.net_recon)
    return model, options
