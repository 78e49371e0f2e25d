"""DICOM archives: a folder tree of files, structured reports in it, and a table of reports."""
