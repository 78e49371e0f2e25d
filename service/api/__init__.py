"""The HTTP API: one module per resource, request bodies and answers, and errors as problem documents."""
