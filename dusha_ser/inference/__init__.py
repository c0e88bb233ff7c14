"""Models at work: loading, classifying, timelines, ONNX."""
