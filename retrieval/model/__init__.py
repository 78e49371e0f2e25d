"""Model bundles at work: manifest, ONNX sessions, tokenizer, encoder."""
