"""The contrastive encoder: ResNet-18 and a projection head (Vepa et al., NeurIPS 2024, Section 4)."""

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from worker.learning.errors import WeightsError

FEATURES = 512  # width of the features that selection measures
EMBEDDING = 64  # width of the embeddings that the losses compare
DOWNLOAD_TIMEOUT_S = 10.0
WEIGHTS_FOLDER = "NEXTSLICE_WEIGHTS"  # environment: a folder of weight files; set, nothing is downloaded


class ContrastiveEncoder(nn.Module):
    """ResNet-18 for (B, C, S, S) images with the head that the losses look through."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Here and not above: importing torchvision takes a second that selection without an encoder need not pay.
        from torchvision.models import resnet18

        backbone = resnet18(weights=None)
        backbone.fc = nn.Identity()
        if channels != 3:
            backbone.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        # The maximum of a window, then ReLU: the same as ReLU, then the maximum, and a quarter of the work.
        backbone.relu, backbone.maxpool = nn.Identity(), nn.Sequential(backbone.maxpool, nn.ReLU(inplace=True))
        self.backbone: nn.Module = backbone
        self.head = nn.Sequential(
            nn.Linear(FEATURES, FEATURES, bias=False), nn.ReLU(), nn.Linear(FEATURES, EMBEDDING, bias=False)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Give the (B, 64) embeddings that the losses compare."""
        embeddings: Tensor = self.head(self.features(images))
        return embeddings

    def features(self, images: Tensor) -> Tensor:
        """Give the (B, 512) features before the head, as selection uses them: averaged over the picture, unscaled."""
        features: Tensor = self.backbone(images)
        return features


def load_imagenet(encoder: ContrastiveEncoder, path: Path, channels: int) -> None:
    """Put ImageNet weights into the backbone, from a torchvision ResNet-18 file (.pth or .safetensors).

    For a stem of other than three channels the weights of red, green and blue are summed and shared out evenly, so that
    a grey picture looks to the net as it would as RGB. Raises WeightsError. Pickled code is never run.
    """
    state = {name: tensor for name, tensor in read_weights(path).items() if not name.startswith("fc.")}
    if "conv1.weight" not in state:
        raise WeightsError(path, "it holds no conv1.weight")
    if channels != 3:
        state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels
    try:
        encoder.backbone.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(path, "it is not a ResNet-18") from error


def find_imagenet_weights(explicit: Path | None, architecture: str = "resnet18") -> Path | None:
    """Give the path of ImageNet weights of a "resnet18" or "resnet50", or None where they cannot be had.

    Looked for in turn: `explicit` (WeightsError if it is not there); the folder NEXTSLICE_WEIGHTS, which when set is
    the only place; torch's own cache; one download into that cache, checked against the checksum in the file's name.
    """
    if explicit is not None:
        if not explicit.is_file():
            raise WeightsError(explicit, "there is no such file")
        return explicit
    folder = os.environ.get(WEIGHTS_FOLDER)
    if folder:
        return _first_resnet(Path(folder), architecture)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return _first_resnet(cache, architecture) or _download(cache, architecture)


def _first_resnet(folder: Path, architecture: str) -> Path | None:
    files = [path for path in folder.glob(f"{architecture}*") if path.suffix in {".pth", ".safetensors"}]
    return min(files, default=None)


def _download(cache: Path, architecture: str) -> Path | None:
    from torchvision.models import ResNet18_Weights, ResNet50_Weights

    published = {"resnet18": ResNet18_Weights.IMAGENET1K_V1, "resnet50": ResNet50_Weights.IMAGENET1K_V2}
    url: str = published[architecture].url
    target = cache / url.rsplit("/", 1)[-1]
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer:  # noqa: S310  # torchvision's own https
            content: bytes = answer.read()
    except (urllib.error.URLError, OSError):
        return None
    if not sha256(content).hexdigest().startswith(target.stem.rsplit("-", 1)[-1]):
        return None
    cache.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(target)
    return target


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Give the tensors of a .safetensors file, or of any other by torch's `weights_only`; raises WeightsError."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(path, "it is not a safetensors file") from error
    from pickle import UnpicklingError

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, OSError, EOFError, LookupError, ValueError) as error:
        raise WeightsError(path, "it is not a file of plain torch weights") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(path, "it is not a dictionary of tensors")
    return state
