"""The checks of `cxr doctor`: each collection with its model, ledger and thumbnails, and the home as a whole."""
