"""The HTTP API: one module for each resource, schemas, and errors as problem documents."""
