"""Live comparison of two models: who sees which, what was clicked, and what that says."""
