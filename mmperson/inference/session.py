"""Run one ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from mmperson.errors import BundleCorrupt, MediaTooLarge, UsageError
from mmperson.inference.providers import Provider, start
from mmperson.preprocessing.collate import VIDEO_SHOWN, deduplicate_frames

GraphValue: TypeAlias = npt.NDArray[Any] | ort.OrtValue
"""Input of a graph: an array, or the output of another graph."""

_NO_MEMORY: Final = ("Failed to allocate memory", "bad allocation", "bad_alloc")
"""Messages of onnxruntime when an allocation fails; it has no exception type for that."""


class Session:
    """A graph in ONNX Runtime.

    Args:
        graph: The ``.onnx`` file's content. External data files are not read.
        name: File name, for errors.
        spec_hash: Hash of the input spec that the graph's metadata must have.
        threads: CPU threads.
        provider: Where it runs.

    Attributes:
        name: File name.
        inputs: Shapes of its inputs by name; a variable axis is a name or None.
        outputs: Shapes of its outputs by name.
        types: Types of both by name, such as ``tensor(float)``.

    Raises:
        BundleCorrupt: The graph cannot be loaded or has another input spec.
        UsageError: The provider is not available.
    """

    def __init__(
        self, graph: bytes, name: str, spec_hash: str, threads: int, provider: Provider = "cpu"
    ) -> None:
        try:
            self._session = start(graph, provider, threads)
        except UsageError:
            raise
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise BundleCorrupt(f"{name} cannot be loaded: {error}") from error
        facts = self._session.get_modelmeta().custom_metadata_map
        if facts.get("mmperson.spec_hash") != spec_hash:
            raise BundleCorrupt(f"{name} does not have the input spec {spec_hash[:12]}.")
        self.name = name
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs = {entry.name: tuple(entry.shape) for entry in inputs}
        self.outputs = {entry.name: tuple(entry.shape) for entry in outputs}
        self.types = {entry.name: str(entry.type) for entry in (*inputs, *outputs)}
        self._device = "cuda" if provider == "cuda" else "cpu"

    def run(self, inputs: Mapping[str, GraphValue]) -> dict[str, ort.OrtValue]:
        """Run the graph on its inputs by name; others are ignored.

        A framewise graph gets each distinct frame once.

        Args:
            inputs: From ``collate``, or outputs of other graphs.

        Returns:
            Outputs by name. They stay on the device, so that tokens go from encoders to the fusion
            without a copy; ``.numpy()`` copies them to the CPU.

        Raises:
            BundleCorrupt: The graph needs other inputs, or fails on these.
            MediaTooLarge: There is not enough memory.
        """
        if VIDEO_SHOWN in self.inputs and isinstance(inputs.get("video"), np.ndarray):
            inputs = {**inputs, **deduplicate_frames(inputs)}
        missing = [name for name in self.inputs if name not in inputs]
        if missing:
            raise BundleCorrupt(f"{self.name} has unknown inputs: {', '.join(missing)}.")
        try:
            binding = self._session.io_binding()
            for name in self.inputs:
                binding.bind_ortvalue_input(name, _bound(inputs[name]))
            for name in self.outputs:
                binding.bind_output(name, self._device)
            self._session.run_with_iobinding(binding)
            answers = binding.get_outputs()
        except Exception as error:  # onnxruntime's exceptions share no public base class
            if any(sign in str(error) for sign in _NO_MEMORY):
                raise MediaTooLarge(
                    f"There is not enough memory to run {self.name} on this clip.",
                    hint="Raise the memory limit of workers (--memory, memory_mb), or free memory.",
                ) from error
            raise BundleCorrupt(f"{self.name} cannot be run: {error}") from error
        return dict(zip(self.outputs, answers, strict=True))


def _bound(value: GraphValue) -> ort.OrtValue:
    """Wrap an array without a copy."""
    if isinstance(value, np.ndarray):
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value))
    return value
