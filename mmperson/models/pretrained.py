"""Pretrained weights: where they lie, and encoders around a backbone that is filled with them.

Nothing is downloaded here unless it is asked for, and no pickle is read: a pickle can run code.
``scripts/fetch_weights.py`` fetches packages of weights and turns them into safetensors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmperson.errors import ConfigError
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.tokens import Tokens

WEIGHTS_FILE: Final = "model.safetensors"
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_NAMED: Final = 3  # Tensors that an error names of each kind.

State = dict[str, Tensor]


class BackboneEncoder(Encoder):
    """A pretrained backbone, and after it a projection that is always trained.

    A frozen backbone stays in evaluation mode: no dropout, no running statistics.

    Args:
        backbone: The network, already filled.
        feature_dim: Width of what it says.
        dim: Width of a token.
        dropout: Dropout before the projection.
        trainable: Whether the backbone is trained.

    Attributes:
        feature_dim: Width of the features.
    """

    def __init__(
        self, backbone: nn.Module, *, feature_dim: int, dim: int, dropout: float, trainable: bool
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(trainable)
        self.frozen = not trainable
        self.feature_dim, self.dim = feature_dim, dim
        self.project = nn.Sequential(
            nn.LayerNorm(feature_dim), nn.Dropout(dropout), nn.Linear(feature_dim, dim)
        )
        self.train()

    def train(self, mode: bool = True) -> BackboneEncoder:
        """Switch to training mode, a frozen backbone excepted."""
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
        files: What the folder must hold.
        online: Let the hub download what is not here yet.

    Returns:
        The folder; the file itself if ``name`` is one.

    Raises:
        ConfigError: None of the places has all of the files.
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
            found = snapshot_download(name, allow_patterns=list(files), local_files_only=not online)
            missing = [file for file in files if not (Path(found) / file).is_file()]
            if not missing:
                return Path(found)
            tried.append(f"the hub's {name!r} lacks {', '.join(missing)}")
        except (OSError, ValueError) as error:  # What it raises of its own derives from these.
            where = "on the hub" if online else "among the hub's downloads"
            tried.append(f"{name!r} is not {where} ({type(error).__name__})")
    raise ConfigError(
        f"There are no weights {name!r}: {'; '.join(tried)}.",
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
    """Fill a backbone with the weights that a recipe names.

    Args:
        backbone: The network.
        weights: Where they lie, see ``weights_folder``; None leaves it random.
        trainable: Whether the backbone will be trained.
        heads: As in ``load_backbone``.
        convert: As in ``load_backbone``.

    Raises:
        ConfigError: The weights are not there or do not fit, or a random backbone is to be frozen.
    """
    if weights is None:
        if not trainable:
            raise ConfigError(
                "A frozen encoder without weights would stay random.",
                hint="Name its 'weights', or set 'trainable: true'.",
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
    """Fill a module from a safetensors file.

    Args:
        module: Every tensor of it must be in the file.
        path: The file, or a folder with ``model.safetensors``.
        heads: Modules, by the beginning of their names, that the file may hold beyond ``module``.
        convert: Changes the file's tensors before they are compared.

    Raises:
        ConfigError: The file is no safetensors file, or its tensors are not those of the module.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if file.suffix != ".safetensors":
        raise ConfigError(
            f"{str(file)!r} is no .safetensors file; a pickle (.pt, .pth, .bin) can run code when "
            "it is read.",
            hint="Convert it: python scripts/fetch_weights.py NAME --convert FILE.",
        )
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error}.") from error
    state = state if convert is None else convert(state)
    wanted = module.state_dict()
    beside = tuple(f"{head}." for head in heads)
    differing = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in state.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    unexpected = [name for name in state if name not in wanted and not name.startswith(beside)]
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:_NAMED])}{', …' * (len(names) > _NAMED)})"
        for kind, names in (
            ("missing", [name for name in wanted if name not in state]),
            ("unexpected", unexpected),
            ("of another shape", differing),
        )
        if names
    ]
    if problems:
        raise ConfigError(
            f"{str(file)!r} does not fit {type(module).__name__}: of {len(wanted)} tensors are "
            f"{', '.join(problems)}.",
            hint="Name the network that these weights belong to.",
        )
    module.load_state_dict({name: state[name] for name in wanted})
