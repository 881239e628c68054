"""Score clips with a bundle of ONNX graphs, without torch."""
