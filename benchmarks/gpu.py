"""How fast encoders and fusion run on a GPU, in ONNX Runtime and in torch.

    python benchmarks/gpu.py --device cuda
    python benchmarks/gpu.py --device cpu --tiny    # that it runs; no figure of it means anything

The networks are those of ``configs/three_modalities.yaml`` with a ViT-S/16 on 16 frames, exported
at opset 23, where attention is one operator; weights are random. Graphs run alone on inputs that
lie on the device, in batches of 1, 8 and 32 clips: torch eager and compiled under bf16 autocast,
ONNX Runtime in fp32 and fp16 with bound inputs and outputs, in fp16 with attention as
``separate_attention.py`` writes it, and both as CUDA graphs. A time is the median of repeats, after
a warm-up. Beside it: how far the outputs are from those of torch in fp32, relative to the largest
of them, and the share of the roofline, which is the measured rate of a large bf16 matrix product
over the operations of a clip. What cannot be run is named with its reason. *Together* are the clips
per second of all graphs, one after the other, with the fastest fp16 system per graph beside
torch.compile: at least as many are aimed at. A result file is never overwritten.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
from result_file import ROOT, circumstances, write_result
from separate_attention import separate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmperson.config import load_recipe
from mmperson.errors import UsageError
from mmperson.export.graph import export_graph
from mmperson.export.quantize import to_fp16
from mmperson.export.wrapper import Part, parts
from mmperson.inputs.batch import VIDEO_SHOWN
from mmperson.models.network import PersonalityNetwork
from mmperson.models.preprocessing import input_spec
from mmperson.runtime.engine import CUDA_OPTIONS, check_provider

Device = Literal["cpu", "cuda"]
Run = Callable[[], dict[str, np.ndarray]]
OPSET = 23
NETWORK = {"video.backbone": "vit_small_patch16_224", "video.frames": "16", "video.size": "224"}
TINY = {"video.backbone": "vit_tiny_patch16_224", "video.frames": "2", "video.size": "32"}
TINY |= {"audio.window_s": "1.0"}
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Setting:
    """Device, batch sizes, tokens of a transcript, repeats, and side of the matrix product."""

    device: Device
    sizes: tuple[int, ...] = (1, 8, 32)
    tokens: int = 128
    repeats: int = 20
    product: int = 8192


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and inputs")
    given = parser.parse_args()
    try:
        require(given.device)
    except UsageError as error:
        raise SystemExit(str(error)) from error
    facts = circumstances(("torch", "onnx"), threads=torch.get_num_threads())
    facts["versions"]["onnxruntime"] = ort.__version__
    facts["device"] = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    tiny = Setting(given.device, sizes=(1, 2), tokens=8, repeats=2, product=256)
    found = measure(tiny if given.tiny else Setting(given.device), TINY if given.tiny else NETWORK)
    write_result("gpu" if not given.tiny else "gpu-tiny", facts, found)


def require(device: Device) -> None:
    """Refuse a GPU that is not there.

    Raises:
        UsageError: torch sees none, or ONNX Runtime has no provider for it.
    """
    if device == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(
                f"torch {torch.__version__} sees no GPU.",
                hint="Run this on a machine with one, or give --device cpu --tiny.",
            )
        check_provider("cuda")


def measure(setting: Setting, changes: dict[str, str]) -> dict[str, Any]:
    """Measure every graph of the network by every system."""
    recipe = load_recipe(ROOT / "configs" / "three_modalities.yaml", changes)
    torch.backends.cudnn.allow_tf32 = False  # what all are compared with is in fp32
    torch.manual_seed(0)
    spec = input_spec(recipe)
    network = PersonalityNetwork(recipe, spec).eval()
    peak = product_rate(setting)
    print(f"A product of {setting.product}: {peak / 1e12:.1f} TFLOP/s.", flush=True)
    rows = []
    for name, part in parts(network, spec).items():
        graph = export_graph(part, {}, OPSET)
        graphs = {"fp32": graph, "fp16": to_fp16(graph)}
        if (module := separate(part.module)) is not None:
            separated = export_graph(replace(part, module=module), {}, OPSET)
            graphs["fp16, separate attention"] = to_fp16(separated)
        work = operations(part, draw(part, 1, setting.tokens))
        part.module.to(setting.device)
        for size in setting.sizes:
            inputs = draw(part, size, setting.tokens)
            expected = on_torch(part, inputs, setting.device)()
            for system, prepare in systems(part, graphs, inputs, setting.device).items():
                row: dict[str, Any] = {"graph": name, "clips": size, "system": system}
                try:
                    run = prepare()
                    # At once: a captured graph writes its next outputs over these.
                    row["relative_error"] = relative_error(run(), expected)
                    row["ms"] = pace(run, setting.repeats)
                except Exception as error:  # what fails is a finding, and the rest goes on
                    row["refused"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
                else:
                    row["clips_per_s"] = 1e3 * size / row["ms"]
                    row["share_of_roofline"] = row["clips_per_s"] * work / peak
                rows.append(row)
                print(row, flush=True)
        part.module.to("cpu")
    encoders = {name: getattr(recipe, name).model_dump(mode="json") for name in recipe.modalities}
    facts = {"opset": OPSET, "encoders": encoders, "product_flop_per_s": peak}
    return facts | {"together": together(rows, setting.sizes), "rows": rows}


def together(rows: list[dict[str, Any]], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Say how many clips per second all graphs score, by each system and by the best of fp16.

    There is no figure for a system that cannot run every graph, and no ratio without both sides.
    """
    found = []
    for size in sizes:
        times: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["clips"] == size:
                of = times.setdefault(row["graph"], {})
                if "refused" not in row:
                    of[row["system"]] = row["ms"]
        able = set.intersection(*map(set, times.values()))
        per_s = {name: 1e3 * size / sum(of[name] for of in times.values()) for name in able}
        half = [[ms for name, ms in of.items() if " fp16" in name] for of in times.values()]
        if all(half):
            per_s["onnxruntime fp16, the best of each graph"] = 1e3 * size / sum(map(min, half))
        row = {"clips": size, "clips_per_s": dict(sorted(per_s.items()))}
        if all(half) and "torch.compile bf16" in able:
            best = per_s["onnxruntime fp16, the best of each graph"]
            row["ratio"] = best / per_s["torch.compile bf16"]
            row["goal_met"] = row["ratio"] >= 1
        found.append(row)
    return found


def systems(
    part: Part, graphs: dict[str, onnx.ModelProto], inputs: dict[str, np.ndarray], device: Device
) -> dict[str, Callable[[], Run]]:
    """Return what is compared: how to prepare each, which gives a function that runs it."""
    found: dict[str, Callable[[], Run]] = {
        "torch eager bf16": lambda: on_torch(part, inputs, device, bf16=True),
    }
    for kind, graph in graphs.items():
        found[f"onnxruntime {kind}"] = partial(on_onnxruntime, graph, inputs, device)
    if device == "cuda":
        found["torch.compile bf16"] = lambda: on_torch(
            part, inputs, device, bf16=True, compiled=True
        )
        for kind, graph in graphs.items():
            if kind != "fp32":
                found[f"onnxruntime {kind}, CUDA graph"] = partial(
                    on_onnxruntime, graph, inputs, device, captured=True
                )
    return found


def draw(part: Part, size: int, tokens: int) -> dict[str, np.ndarray]:
    """Draw inputs of a graph at random; all is present, masks hide nothing, no picture repeats."""
    random = np.random.default_rng(0)
    found = {}
    lengths = {"batch": size, "token": tokens}
    if VIDEO_SHOWN in part.inputs:
        lengths["picture"] = part.inputs[VIDEO_SHOWN].shape[1]
    for name, example in part.inputs.items():
        axes = part.dynamic[name]
        shape = [lengths[axes[i]] if i in axes else n for i, n in enumerate(example.shape)]
        array = example.numpy()
        if name == "present" or name.endswith("_mask"):
            found[name] = np.ones(shape, array.dtype)
        elif name == VIDEO_SHOWN:
            found[name] = np.tile(np.arange(shape[1]), (size, 1))
        elif array.dtype == np.float32:
            found[name] = random.normal(size=shape).astype(np.float32)
        else:
            found[name] = random.integers(0, 256, shape).astype(array.dtype)
    return found


def on_torch(
    part: Part,
    inputs: dict[str, np.ndarray],
    device: Device,
    *,
    bf16: bool = False,
    compiled: bool = False,
) -> Run:
    """Prepare a module and its inputs on a device."""
    placed = [torch.from_numpy(array).to(device) for array in inputs.values()]
    module: nn.Module | Callable[..., Any] = part.module
    if compiled:
        torch.compiler.reset()
        module = torch.compile(part.module, mode="reduce-overhead")

    @torch.inference_mode()
    def run() -> dict[str, np.ndarray]:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            said = module(*placed)
        if device == "cuda":
            torch.cuda.synchronize()
        outputs = said if isinstance(said, tuple) else (said,)
        return dict(zip(part.outputs, outputs, strict=True))

    return run


def on_onnxruntime(
    graph: onnx.ModelProto,
    inputs: dict[str, np.ndarray],
    device: Device,
    *,
    captured: bool = False,
) -> Run:
    """Prepare a session with bound inputs and outputs; a captured one replays a CUDA graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    facts = {**CUDA_OPTIONS, "enable_cuda_graph": str(int(captured))} if device == "cuda" else {}
    providers = [(PROVIDERS[device], facts)]
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=providers)
    if session.get_providers()[0] != PROVIDERS[device]:
        raise UsageError(f"ONNX Runtime would use {', '.join(session.get_providers())}.")
    binding = session.io_binding()
    for name, array in inputs.items():
        value = ort.OrtValue.ortvalue_from_numpy(array, device, 0)
        binding.bind_ortvalue_input(name, value)
    names = [output.name for output in session.get_outputs()]
    for name, array in _outputs(graph, inputs).items() if captured else ():
        # A CUDA graph writes where it wrote when it was captured.
        binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
    for name in () if captured else names:
        binding.bind_output(name, device, 0)

    def run() -> dict[str, np.ndarray]:
        session.run_with_iobinding(binding)
        return dict(zip(names, binding.get_outputs(), strict=True))

    return run


def _outputs(graph: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph on the CPU to know the shapes of its outputs."""
    session = ort.InferenceSession(graph.SerializeToString(), providers=[PROVIDERS["cpu"]])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def pace(run: Run, repeats: int) -> float:
    """Return the median wall time of a run in milliseconds, after a fifth more to warm up."""
    for _ in range(1 + repeats // 5):
        run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def relative_error(answer: dict[str, Any], expected: dict[str, Any]) -> float:
    """Return the largest difference of an output, relative to its largest value."""
    worst = 0.0
    for name, wanted in expected.items():
        reference = wanted.float().cpu().numpy()
        said = answer[name]
        array = said.float().cpu().numpy() if isinstance(said, torch.Tensor) else said.numpy()
        scale = max(float(np.abs(reference).max()), 1e-12)
        worst = max(worst, float(np.abs(array - reference).max()) / scale)
    return worst


def operations(part: Part, inputs: dict[str, np.ndarray]) -> float:
    """Count the floating-point operations of a graph on one clip."""
    with FlopCounterMode(display=False) as counter:  # it wants gradients to be on
        part.module(*(torch.from_numpy(array) for array in inputs.values()))
    return float(counter.get_total_flops())


def product_rate(setting: Setting) -> float:
    """Return the operations per second of a large bf16 matrix product on the device."""
    side = setting.product
    a, b = (torch.ones(side, side, dtype=torch.bfloat16, device=setting.device) for _ in "ab")

    def run() -> dict[str, np.ndarray]:
        a @ b
        if setting.device == "cuda":
            torch.cuda.synchronize()
        return {}

    return 2.0 * side**3 / (pace(run, setting.repeats) / 1e3)


if __name__ == "__main__":
    main()
