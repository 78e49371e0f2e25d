"""Reports of a comparison: Markdown, and one self-contained HTML page."""
