"""Access control: API keys, login sessions, rate limit, allowed hosts, audit log."""
