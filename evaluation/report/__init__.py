"""Reports of a comparison: Markdown, and one HTML page that needs nothing beside it."""
