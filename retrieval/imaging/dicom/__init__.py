"""DICOM (PS3): header, pixel data and presentation -> 8-bit grey."""
