"""Import torchvision as it comes from PyPI beside a torch without CUDA; for both peers."""

from importlib import import_module


def load_torch():
    """Return torch, on one thread, with torchvision imported.

    PyPI's torchvision is compiled for CUDA. Beside a torch without, its compiled operators are
    missing, and importing it fails for it describes two of them. Neither peer calls any of them
    here, so those two are declared without a body.
    """
    import torch

    torch.set_num_threads(1)
    try:
        import_module("torchvision")
    except RuntimeError:
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", schema)
        import_module("torchvision")
    return torch
