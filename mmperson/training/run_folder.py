"""The files of a run folder that say which run it is."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from mmperson.config import Recipe, load_recipe
from mmperson.errors import ResumeMismatch
from mmperson.files import atomic_write, remove_stale, write_errors
from mmperson.models.checkpoint import RECIPE_FILE
from mmperson.models.input_spec import TOKENIZER_FILE, tokenizer_file

MANIFEST_FILE = "manifest.sha256"


def claim_folder(run: Path, recipe: Recipe) -> None:
    """Write recipe, manifest hash and tokenizer to the run folder; refuse those of another run."""
    recipe_path, manifest_path = run / RECIPE_FILE, run / MANIFEST_FILE
    manifest_hash = hashlib.sha256(recipe.data.manifest.read_bytes()).hexdigest()
    if recipe_path.is_file() and (old := load_recipe(recipe_path).hash) != recipe.hash:
        raise ResumeMismatch(
            f"{str(run)!r} is a run of another recipe ({old[:12]}, now {recipe.hash[:12]}).",
            hint="Give another --out, or the recipe that the run started with.",
        )
    if manifest_path.is_file() and manifest_path.read_text(encoding="utf-8") != manifest_hash:
        raise ResumeMismatch(
            f"{str(run)!r} started with other content of {str(recipe.data.manifest)!r}.",
            hint="Give another --out, or the manifest that the run started with.",
        )
    with write_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        remove_stale(run)
    for target, content in ((recipe_path, recipe.to_yaml()), (manifest_path, manifest_hash)):
        with atomic_write(target) as unfinished:
            unfinished.write_text(content, encoding="utf-8")
    if recipe.text is not None:
        with atomic_write(run / TOKENIZER_FILE) as unfinished:
            shutil.copyfile(tokenizer_file(recipe.text), unfinished)
