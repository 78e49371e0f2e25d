"""What `cxr doctor` checks: each collection with its model, ledger and thumbnails, and the home as a whole."""
