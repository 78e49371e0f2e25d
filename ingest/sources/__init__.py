"""Archives that studies are read from."""
