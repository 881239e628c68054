"""The trained network as ONNX graphs: open a bundle, score clips. No torch."""
