"""The web page: its form, its content and its login."""
