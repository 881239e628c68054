"""One ONNX graph, ready to run on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from mmperson.errors import BundleCorrupt

PROVIDER = "CPUExecutionProvider"


class Session:
    """A graph in ONNX Runtime.

    Args:
        graph: The ``.onnx`` file's content. External data files are not looked for.
        name: File name, for errors.
        spec_hash: Hash of the input spec that the graph must carry.
        threads: CPU threads.

    Raises:
        BundleCorrupt: The graph cannot be loaded or was made for another input spec.
    """

    def __init__(self, graph: bytes, name: str, spec_hash: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(graph, options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise BundleCorrupt(f"{name} cannot be loaded: {error}") from error
        facts = self._session.get_modelmeta().custom_metadata_map
        if facts.get("mmperson.spec_hash") != spec_hash:
            raise BundleCorrupt(f"{name} does not carry the input spec {spec_hash[:12]}.")
        self.name = name
        self.inputs = tuple(entry.name for entry in self._session.get_inputs())
        self.outputs = {entry.name: tuple(entry.shape) for entry in self._session.get_outputs()}

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        """Run the graph on its inputs by name; others are ignored. Returns outputs by name.

        Raises:
            BundleCorrupt: The graph wants other inputs, or fails on these.
        """
        missing = [name for name in self.inputs if name not in inputs]
        if missing:
            raise BundleCorrupt(f"{self.name} wants {', '.join(missing)}, which nothing gives.")
        fed = {name: inputs[name] for name in self.inputs}
        try:
            answers = self._session.run(None, fed)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise BundleCorrupt(f"{self.name} cannot be run: {error}") from error
        return dict(zip(self.outputs, answers, strict=True))
