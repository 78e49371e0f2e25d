"""The web page: what its form holds, and what it shows."""
