"""Model bundles: manifest, ONNX sessions, tokenizer, encoder."""
