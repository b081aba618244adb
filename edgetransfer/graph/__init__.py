"""The network as an ONNX graph: traced, cleaned, counted, joined to its preprocessing."""
