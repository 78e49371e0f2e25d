"""Live experiments: two models compared by the clicks and ratings of users."""
