"""Start ONNX Runtime sessions on a provider, and verify that it is really used.

ONNX Runtime replaces a listed provider that cannot start by the CPU and only logs it. So ``start``
asks the session for its provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

import numpy as np
import onnxruntime as ort

from mmperson.errors import UnknownComponent, UsageError

Provider = Literal["cpu", "cuda"]
PROVIDERS: Final[tuple[Provider, ...]] = get_args(Provider)

_NAMES: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_PACKAGES: Final = {"cuda": "onnxruntime-gpu"}
CUDA_OPTIONS: Final = {
    "use_tf32": "0",  # its 10 bits of mantissa exceed the parity limit of exports
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_use_max_workspace": "0",  # a third less memory at the same speed
}

_TINY: Final = (
    b'\x08\x08:5\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x01g'
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
"""An ONNX model in opset 13 whose output y is x + x, both float32 (1,)."""


def available() -> list[Provider]:
    """Return the providers that the installed ONNX Runtime lists; a listed one may still fail."""
    listed = ort.get_available_providers()
    return [provider for provider in PROVIDERS if _NAMES[provider] in listed]


def check_provider(provider: str) -> None:
    """Check that a provider is available.

    Raises:
        UnknownComponent: There is no such provider.
        UsageError: The installed ONNX Runtime does not have it.
    """
    if provider not in PROVIDERS:
        raise UnknownComponent("provider", str(provider), PROVIDERS)
    if provider not in available():
        raise UsageError(
            f"The installed onnxruntime {ort.__version__} has no provider {provider!r}; it has "
            f"{', '.join(available())}.",
            hint=f"Install {_PACKAGES[provider]} instead of onnxruntime, not in addition to it.",
        )


def start(
    graph: bytes,
    provider: Provider,
    threads: int,
    more: Mapping[str, str] = MappingProxyType({}),
) -> ort.InferenceSession:
    """Start a session on a provider.

    Args:
        graph: Content of an ``.onnx`` file. External data files are not read.
        provider: Where it runs.
        threads: CPU threads.
        more: CUDA options in addition to ``CUDA_OPTIONS``.

    Raises:
        UsageError: It does not run there.
        Exception: The graph cannot be loaded; ONNX Runtime's exceptions share no public base class.
    """
    check_provider(provider)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena would round up the activations of 100 frames and never free them.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what it logs, it also raises
    if provider == "cuda":
        ort.preload_dlls()  # CUDA and cuDNN from the nvidia-* packages, if they are installed
    entry = (_NAMES[provider], {**CUDA_OPTIONS, **more} if provider == "cuda" else {})
    session = ort.InferenceSession(graph, options, providers=[entry])
    if provider == "cpu":
        # A copy of the graph, kept to restart on a fallback provider; there is none.
        vars(session).pop("_model_bytes", None)
    used = session.get_providers()
    if used[0] != _NAMES[provider]:
        raise UsageError(
            f"The provider {provider!r} is listed and cannot start here; ONNX Runtime would "
            f"silently use {', '.join(used)}.",
            hint="Use provider cpu, or check the driver, CUDA and cuDNN.",
        )
    return session


def probe(provider: Provider) -> str | None:
    """Run a tiny graph on a provider.

    Args:
        provider: A listed provider, see ``available``.

    Returns:
        Why it does not run, None if it does.
    """
    try:
        session = start(_TINY, provider, threads=1)
        (answer,) = session.run(["y"], {"x": np.ones(1, dtype=np.float32)})
    except Exception as error:  # onnxruntime's exceptions share no public base class
        return str(error) or type(error).__name__
    return None if answer.tolist() == [2.0] else f"it computes 1 + 1 = {answer.tolist()}"
