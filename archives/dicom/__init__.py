"""DICOM archives: a tree of files, their structured reports, and reports in a table beside them."""
