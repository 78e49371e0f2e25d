"""Phantoms: seeded synthetic chest X-rays with known findings and matching reports, for the demo, tests and training.

They are drawn, not derived from any patient's images.
"""

from archives.phantoms.archive import PhantomFiles, write_phantoms
from archives.phantoms.findings import Finding
from archives.phantoms.study import PhantomStudy, draw_study

__all__ = ["Finding", "PhantomFiles", "PhantomStudy", "draw_study", "write_phantoms"]
