"""Export: a run folder in, a bundle of ONNX graphs out."""

from mmperson.exporting.bundle import export_run

__all__ = ["export_run"]
