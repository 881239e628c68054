"""Export: a run folder to a bundle of ONNX graphs."""

from mmperson.exporting.bundle import export_run

__all__ = ["export_run"]
