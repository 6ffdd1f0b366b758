"""Trained networks for other runtimes: ONNX, StableHLO, int8, and the proof that they agree."""
