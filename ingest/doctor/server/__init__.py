"""The checks of a Qdrant server or cluster, and what they read from its nodes."""
