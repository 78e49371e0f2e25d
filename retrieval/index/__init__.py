"""The vector index: one interface, two engines (Qdrant Edge in this process, a Qdrant server through qdrant-client)."""
