"""One module per resource; each only turns a request into a call of the engine and its result into a document."""
