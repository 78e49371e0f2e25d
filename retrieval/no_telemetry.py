"""Stops libraries from sending data, and from writing outside `CXR_HOME`.

They read these variables when they are loaded. `retrieval/__init__.py` therefore imports this module first, and every other
package of the project imports `retrieval` first.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from retrieval.errors import TelemetryActive

OPT_OUTS = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.32: connections to its vendor, a device id in the user's cache folder
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DO_NOT_TRACK": "1",  # https://donottrack.sh, for future libraries
}
"""Variables that override the user's environment: nothing leaves the machine."""

_FONTS = Path(__file__).with_name("fonts.conf")
_CACHES = {
    "MPLCONFIGDIR": "matplotlib",  # its font cache
    "CUDA_CACHE_PATH": "cuda",  # kernels that the driver compiled for this GPU
}

_onnxruntime_came_first = "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1"
os.environ.update(OPT_OUTS)
os.environ.setdefault("FONTCONFIG_FILE", str(_FONTS))
for _variable, _name in _CACHES.items():
    _home = Path(os.environ.get("CXR_HOME") or Path.home() / ".cxr")
    os.environ.setdefault(_variable, str(_home.absolute() / "cache" / _name))


def require_onnxruntime_without_telemetry() -> None:
    """Check that onnxruntime was loaded after its telemetry was switched off.

    Raises:
        TelemetryActive: the calling program imported it first, without the variable.
    """
    if _onnxruntime_came_first:
        raise TelemetryActive(
            "onnxruntime was imported before retrieval, so it may send telemetry to its vendor; import retrieval first, "
            "or set ORT_DISABLE_TELEMETRY=1 before Python starts"
        )
