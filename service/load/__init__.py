"""Load: admission, batching, timeouts, limits on bodies and connections, draining."""
