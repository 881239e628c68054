"""Find and load pretrained weights; encoders around a pretrained backbone.

Weights are downloaded only on request, and pickles are never read, since they can run code.
``scripts/fetch_weights.py`` fetches packages of weights and converts them to safetensors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmperson.errors import ConfigError
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.tokens import Tokens

WEIGHTS_FILE = "model.safetensors"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MAX_LISTED = 3  # Tensor names of each kind in an error.

State = dict[str, Tensor]


class BackboneConfig(Protocol):
    """What the sections of all ``BackboneEncoder``s have: token width, dropout and trainable."""

    dim: int
    dropout: float
    trainable: bool


class BackboneEncoder(Encoder):
    """A pretrained backbone followed by a projection that is always trained.

    A frozen backbone stays in evaluation mode: no dropout, no running statistics.

    Args:
        backbone: The network, with its weights loaded.
        feature_dim: Width of its features.
        config: Token width, dropout before the projection, and whether the backbone is trained.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, config: BackboneConfig) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(config.trainable)
        self.frozen = not config.trainable
        self.feature_dim, self.dim = feature_dim, config.dim
        self.project = nn.Sequential(
            nn.LayerNorm(feature_dim), nn.Dropout(config.dropout), nn.Linear(feature_dim, self.dim)
        )
        self.train()

    def train(self, mode: bool = True) -> BackboneEncoder:
        """Set training mode, except for a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def adapt(self, features: Tokens) -> Tokens:
        """Project features, float (batch, token, feature), to tokens (batch, token, dim)."""
        return Tokens(self.project(features.values), features.mask)


def cache_folder() -> Path:
    """Return the folder of fetched packages: ``$MMPERSON_CACHE``, or ``~/.cache/mmperson``."""
    return Path(os.environ.get("MMPERSON_CACHE") or "~/.cache/mmperson").expanduser()


def weights_folder(name: str, files: Sequence[str], *, online: bool = False) -> Path:
    """Find pretrained weights.

    Args:
        name: A local folder or file, the name of a fetched package, or a hub id (``owner/name``);
            tried in this order.
        files: Files that the folder must contain.
        online: Whether to download from the hub.

    Returns:
        The folder; the file itself if ``name`` is one.

    Raises:
        ConfigError: No place has all of the files.
    """
    local = Path(name).expanduser()
    if local.is_file():
        return local
    tried = []
    for folder in (local, cache_folder() / name):
        missing = [file for file in files if not (folder / file).is_file()]
        if not missing:
            return folder
        lacks = f"lacks {', '.join(missing)}" if folder.is_dir() else "is no folder"
        tried.append(f"{str(folder)!r} {lacks}")
    if _HUB_ID.fullmatch(name):
        from huggingface_hub import snapshot_download  # Here: local folders need no hub.

        try:
            folder = Path(
                snapshot_download(name, allow_patterns=list(files), local_files_only=not online)
            )
            missing = [file for file in files if not (folder / file).is_file()]
            if not missing:
                return folder
            tried.append(f"the hub's {name!r} lacks {', '.join(missing)}")
        except (OSError, ValueError) as error:  # The hub's own errors derive from these.
            where = "on the hub" if online else "among the hub's downloads"
            tried.append(f"{name!r} is not {where} ({type(error).__name__})")
    raise ConfigError(
        f"The weights {name!r} were not found: {'; '.join(tried)}.",
        hint=f"Give a folder with {', '.join(files)}, or fetch them with scripts/fetch_weights.py.",
    )


def fill_backbone(
    backbone: nn.Module,
    weights: str | None,
    *,
    trainable: bool,
    heads: Sequence[str] = (),
    convert: Callable[[State], State] | None = None,
) -> None:
    """Load the weights that a recipe names into a backbone.

    Args:
        backbone: The network.
        weights: See ``weights_folder``; None leaves the backbone random.
        trainable: Whether the backbone will be trained.
        heads: As in ``load_backbone``.
        convert: As in ``load_backbone``.

    Raises:
        ConfigError: The weights are missing or do not fit, or a random backbone would be frozen.
    """
    if weights is None:
        if not trainable:
            raise ConfigError(
                "A frozen encoder without weights would stay random.",
                hint="Set 'weights', or 'trainable: true'.",
            )
        return
    load_backbone(backbone, weights_folder(weights, (WEIGHTS_FILE,)), heads=heads, convert=convert)


def load_backbone(
    module: nn.Module,
    path: Path,
    *,
    heads: Sequence[str] = (),
    convert: Callable[[State], State] | None = None,
) -> None:
    """Load a module's weights from a safetensors file.

    Args:
        module: The file must contain all of its tensors.
        path: The file, or a folder with ``model.safetensors``.
        heads: Name prefixes of modules that the file may contain in addition.
        convert: Converts the file's tensors before they are compared.

    Raises:
        ConfigError: The file is not a safetensors file, or its tensors do not match the module's.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if file.suffix != ".safetensors":
        raise ConfigError(
            f"{str(file)!r} is not a .safetensors file; a pickle (.pt, .pth, .bin) can run code "
            "when it is loaded.",
            hint="Convert it: python scripts/fetch_weights.py NAME --convert FILE.",
        )
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error}.") from error
    state = state if convert is None else convert(state)
    expected = module.state_dict()
    ignored = tuple(f"{head}." for head in heads)
    mismatched = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    unexpected = [name for name in state if name not in expected and not name.startswith(ignored)]
    problems = [
        f"{len(names)} {kind} ({', '.join([*names[:_MAX_LISTED], '…'][: len(names)])})"
        for kind, names in (
            ("missing", [name for name in expected if name not in state]),
            ("unexpected", unexpected),
            ("of another shape", mismatched),
        )
        if names
    ]
    if problems:
        raise ConfigError(
            f"{str(file)!r} does not fit {type(module).__name__}: of {len(expected)} tensors are "
            f"{', '.join(problems)}.",
            hint="Set the network that these weights belong to.",
        )
    module.load_state_dict({name: state[name] for name in expected})
