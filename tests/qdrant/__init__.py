"""Real Qdrant servers for tests with the marker `real`: one node, one with keys and TLS, three as a cluster.

`CXR_TEST_QDRANT_BINARY` names the program, else `qdrant` on the path is used; without one such tests are skipped. Servers
listen on free ports of 127.0.0.1, send no telemetry, and keep their data in a temporary folder.
"""
