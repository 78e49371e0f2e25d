"""From the bytes of a file to the pixels a model sees. Queries and ingest share every step."""
