"""Phantoms: synthetic chest X-rays from a seed, with known findings and matching reports, for demo, tests and training.

They are drawn. No image of a patient was used.
"""

from archives.phantoms.archive import PhantomFiles, write_phantoms
from archives.phantoms.findings import Finding
from archives.phantoms.study import PhantomStudy, draw_study

__all__ = ["Finding", "PhantomFiles", "PhantomStudy", "draw_study", "write_phantoms"]
