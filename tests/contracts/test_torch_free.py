"""Inference never imports torch, and imports stay quick."""

import json
import subprocess
import sys

HEAVY = ("torch", "torchaudio", "torchvision", "timm", "transformers", "librosa", "sklearn")

SCRIPT = """
import json, sys
import mmperson
light = [name for name in ("numpy", "pydantic", "onnxruntime", "av") if name in sys.modules]
record = mmperson.load(sys.argv[1]).predict(sys.argv[2])
heavy = [name for name in sys.argv[3].split(",") if name in sys.modules]
print(json.dumps({"light": light, "heavy": heavy, "error": record.error is not None}))
"""


def test_a_prediction_imports_no_torch(tiny_bundle, demo, project_root):
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_bundle), str(demo), ",".join(HEAVY)],
        capture_output=True,
        text=True,
        check=True,
        cwd=project_root,
    )
    assert json.loads(answer.stdout) == {"light": [], "heavy": [], "error": False}
