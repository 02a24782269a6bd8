"""Networks as graphs for exporters and other engines, and as ONNX files."""
