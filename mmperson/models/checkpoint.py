"""A trained network as one safetensors file that contains its recipe and input spec. No pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mmperson.config import Recipe, load_recipe, parse_recipe
from mmperson.errors import BundleCorrupt, BundleNotFound
from mmperson.files import atomic_write, write_errors
from mmperson.models.ensemble import Ensemble
from mmperson.models.network import PersonalityNetwork
from mmperson.preprocessing.spec import InputSpec

NETWORK_FILE = "network.safetensors"
RECIPE_FILE = "recipe.yaml"


class Trained(NamedTuple):
    """A network in evaluation mode, with its recipe and preprocessing."""

    network: PersonalityNetwork
    recipe: Recipe
    spec: InputSpec


def save_network(
    path: Path, weights: dict[str, torch.Tensor], recipe: Recipe, spec: InputSpec
) -> None:
    """Write a network's state dict, resolved recipe and input spec atomically."""
    facts = {"recipe": recipe.model_dump_json(), "spec": spec.model_dump_json()}
    write_tensors(path, weights, facts)


def load_network(run: str | Path) -> Trained:
    """Load the network of a run folder, or the ensemble of its members.

    Raises:
        BundleNotFound: The folder lacks the network, or a member of the ensemble.
        BundleCorrupt: A file is damaged or does not fit its recipe, or members' recipes differ.
    """
    path, recipe_path = Path(run) / NETWORK_FILE, Path(run) / RECIPE_FILE
    if not path.is_file() and recipe_path.is_file():
        recipe = load_recipe(recipe_path)
        if recipe.data.ensemble:
            return _load_members(Path(run), recipe)
    weights, facts = read_tensors(path)
    recipe = parse_recipe(json.loads(facts["recipe"]), source=str(path))
    spec = InputSpec.model_validate_json(facts["spec"])
    network = PersonalityNetwork(recipe, spec, pretrained=False)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise BundleCorrupt(f"{str(path)!r} does not fit its own recipe: {error}.") from error
    return Trained(network.eval(), recipe, spec)


def member_folder(run: Path, fold: int) -> Path:
    """Return the folder of an ensemble's member within the ensemble's run folder."""
    return run / f"fold-{fold}"


def _load_members(run: Path, recipe: Recipe) -> Trained:
    folders = [member_folder(run, fold) for fold in range(recipe.data.folds)]
    missing = [folder.name for folder in folders if not (folder / NETWORK_FILE).is_file()]
    if missing:
        raise BundleNotFound(
            f"The ensemble {str(run)!r} has {len(folders) - len(missing)} of {len(folders)} "
            f"members; there is no network in {', '.join(missing)}.",
            hint="Run the same 'mmperson train' command again to resume.",
        )
    members = [load_network(folder) for folder in folders]
    for fold, member in enumerate(members):
        if member.recipe.hash != recipe.member(fold).hash or member.spec != members[0].spec:
            raise BundleCorrupt(
                f"The network in {str(folders[fold])!r} does not have the ensemble's recipe."
            )
    network = Ensemble([member.network for member in members])
    return Trained(network.eval(), recipe, members[0].spec)


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    """Write tensors and text facts to a safetensors file atomically.

    Raises:
        UsageError: The file cannot be written.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # One entry: safetensors writes several in random order, and equal runs should give equal files.
    metadata = {"facts": json.dumps(facts, sort_keys=True)}
    dense = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # Not save_file: it writes a temporary file that would remain after a kill.
    content = save(dense, metadata)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors and facts of a file that ``write_tensors`` wrote.

    Raises:
        BundleNotFound: There is no such file.
        BundleCorrupt: The file is damaged.
    """
    if not path.is_file():
        raise BundleNotFound(f"{str(path)!r} does not exist.", hint="Give a run folder of 'train'.")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BundleCorrupt(f"{str(path)!r} is damaged: {error}.") from error
