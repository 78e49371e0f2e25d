"""Load: admission and queue, batching, timeouts, limits for bodies and connections, draining."""
