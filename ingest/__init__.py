"""From an archive on disk to points in the index: sources and the worker."""
