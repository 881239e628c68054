"""What ``gpu.py`` compares: torch at its best and ONNX Runtime as the product starts it."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from benchmarks.harness import ROOT
from mmperson.exporting.wrapper import Part
from mmperson.inference.providers import start
from mmperson.models.layers.attention import Attention

Device = Literal["cpu", "cuda"]
Run = Callable[[], dict[str, Any]]
TOKENIZER = ROOT / "weights" / "impressions-text-audio" / "tokenizer.json"
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
"""Sizes of all-MiniLM-L6-v2; it has BERT's vocabulary, and as many heads."""


def random_text_weights(folder: Path, sizes: Mapping[str, int] = MappingProxyType(MINILM)) -> Path:
    """Write a folder of random weights of a text encoder, so that none need be downloaded."""
    torch.manual_seed(0)
    BertModel(BertConfig(**sizes)).save_pretrained(folder)
    shutil.copyfile(TOKENIZER, folder / TOKENIZER.name)
    return folder


class FusedAttention(nn.Module):
    """Stands in for the attention of fusions and of frames: torch's own kernel."""

    def __init__(self, given: Attention) -> None:
        super().__init__()
        self.given = given

    def forward(self, asking: Tensor, answering: Tensor, bias: Tensor) -> Tensor:
        """Attend, see ``Attention``."""
        of, heads = self.given, self.given.heads
        q, k, v = (
            layer(x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for layer, x in ((of.query, asking), (of.key, answering), (of.value, answering))
        )
        attended = scaled_dot_product_attention(q, k, v, attn_mask=bias.unsqueeze(1))
        return of.out(attended.transpose(1, 2).flatten(-2))


def fuse_attention(module: nn.Module) -> nn.Module:
    """Return a copy whose attention is torch's own kernel wherever it is written out for export.

    Args:
        module: Any network, in evaluation mode; it stays as it is.
    """
    copy = deepcopy(module)
    for parent in list(copy.modules()):
        if hasattr(parent, "set_attn_implementation"):  # a network of transformers
            parent.set_attn_implementation("sdpa")
        for name, child in list(parent.named_children()):
            if type(child) is Attention:
                setattr(parent, name, FusedAttention(child))
    return copy


def on_torch(
    part: Part,
    inputs: Mapping[str, np.ndarray],
    device: Device,
    *,
    bf16: bool = False,
    compiled: bool = False,
) -> Run:
    """Prepare a module and its inputs on a device; in bf16 its attention is torch's own kernel."""
    placed = [torch.from_numpy(array).to(device) for array in inputs.values()]
    module: Callable[..., Any] = fuse_attention(part.module) if bf16 else part.module
    if compiled:
        torch.compiler.reset()
        module = torch.compile(module, mode="reduce-overhead")

    @torch.inference_mode()
    def run() -> dict[str, Tensor]:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            answer = module(*placed)
        if device == "cuda":
            torch.cuda.synchronize()
        outputs = answer if isinstance(answer, tuple) else (answer,)
        return dict(zip(part.outputs, outputs, strict=True))

    return run


def on_onnxruntime(
    graph: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    expected: Mapping[str, Tensor],
    device: Device,
    *,
    captured: bool = False,
) -> Run:
    """Prepare a session, started as the product does, with bound inputs and outputs.

    Args:
        graph: What runs.
        inputs: Arrays by name, which are put on the device.
        expected: Outputs by name, of which the shapes count.
        device: Where it runs.
        captured: Replay a CUDA graph.
    """
    more = {"enable_cuda_graph": "1"} if captured else {}
    session = start(graph.SerializeToString(), device, torch.get_num_threads(), more)
    binding = session.io_binding()
    for name, array in inputs.items():
        value = ort.OrtValue.ortvalue_from_numpy(array, device, 0)
        binding.bind_ortvalue_input(name, value)
    names = [output.name for output in session.get_outputs()]
    for name in names:
        if captured:  # A CUDA graph writes where it wrote when it was captured.
            empty = np.zeros(tuple(expected[name].shape), dtype=np.float32)
            place = ort.OrtValue.ortvalue_from_numpy(empty, device, 0)
            binding.bind_ortvalue_output(name, place)
        else:
            binding.bind_output(name, device, 0)

    def run() -> dict[str, ort.OrtValue]:
        session.run_with_iobinding(binding)
        return dict(zip(names, binding.get_outputs(), strict=True))

    return run


def median_ms(run: Run, repeats: int) -> float:
    """Return the median wall time of a run in milliseconds, after a fifth more to warm up."""
    for _ in range(1 + repeats // 5):
        run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def relative_error(answer: Mapping[str, Any], expected: Mapping[str, Tensor]) -> float:
    """Return the largest difference of an output, relative to its largest value."""
    worst = 0.0
    for name, wanted in expected.items():
        reference = wanted.float().cpu().numpy()
        value = answer[name]
        array = value.float().cpu().numpy() if isinstance(value, Tensor) else value.numpy()
        scale = max(float(np.abs(reference).max()), 1e-12)
        worst = max(worst, float(np.abs(array - reference).max()) / scale)
    return worst


def operations(part: Part, inputs: Mapping[str, np.ndarray]) -> float:
    """Count the floating-point operations of a graph on one clip, on the CPU."""
    # The CPU's own kernel of attention counts for nothing; that of plain products is counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        part.module(*(torch.from_numpy(array) for array in inputs.values()))  # wants gradients on
    return float(counter.get_total_flops())


def product_rate(side: int, repeats: int, device: Device) -> float:
    """Return the operations per second of a bf16 product of square matrices on the device.

    They are drawn at random: a GPU is faster on numbers that are all the same, as no network has
    them.
    """
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in "ab")

    def run() -> dict[str, Any]:
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        return {}

    return 2.0 * side**3 / (median_ms(run, repeats) / 1e3)


def runtime_build() -> dict[str, Any]:
    """Say which ONNX Runtime runs: a copy put before the installed one is not what pip names."""
    libraries = (Path(ort.__file__).parent / "capi").glob("*onnxruntime_providers_cuda*")
    sizes = [file.stat().st_size for file in libraries]
    build = {"version": ort.__version__, "build": ort.get_build_info()}
    return build | {"cuda_library_bytes": max(sizes, default=None)}
