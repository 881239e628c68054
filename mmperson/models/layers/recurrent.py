"""A recurrent layer that exports as one operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def run_lstm(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """Return an LSTM's states; export it as ONNX's LSTM operator.

    torch's exporter would unroll it over time, or fail where the length varies.

    Args:
        lstm: In one direction, ``batch_first``.
        x: float (batch, time, feature).

    Returns:
        States of the last layer, float (batch, time, dim).
    """
    if not torch.onnx.is_in_onnx_export():
        return lstm(x)[0]
    x = x.transpose(0, 1)
    for layer in lstm.all_weights:
        # torch has the gates input, forget, cell, output; ONNX input, output, forget, cell.
        ordered = [torch.cat([i, o, f, c]) for i, f, c, o in (w.chunk(4) for w in layer)]
        weights = [ordered[0], ordered[1], torch.cat(ordered[2:])]  # input, recurrent, biases
        x = torch.onnx.ops.symbolic(
            "LSTM",
            (x, *(weight.unsqueeze(0) for weight in weights)),
            {"hidden_size": lstm.hidden_size},
            dtype=x.dtype,
            shape=(x.shape[0], 1, x.shape[1], lstm.hidden_size),
        ).squeeze(1)
    return x.transpose(0, 1)
