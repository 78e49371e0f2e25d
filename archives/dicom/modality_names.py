"""Names of modalities for messages: the defined terms of PS3.3 C.7.3.1.1.1, retired ones included.

Other values of the tag are never shown, because they may contain patient data.
"""

from __future__ import annotations

import json
import re

_KNOWN = frozenset((
    "ANN", "AR", "AS", "ASMT", "AU", "BDUS", "BI", "BMD", "CD", "CF", "CFM", "CP", "CR", "CS", "CT",
    "CTPROTOCOL", "DD", "DF", "DG", "DM", "DMS", "DOC", "DS", "DX", "EC", "ECG", "EEG", "EMG", "EOG", "EPS",
    "ES", "FA", "FID", "FS", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LP", "LS",
    "M3D", "MA", "MG", "MR", "MS", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV", "OPTENF", "OPV",
    "OSS", "OT", "PA", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE",
    "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SC", "SEG", "SM", "SMR", "SR",
    "SRF", "ST", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "VF", "VL", "XA", "XAPROTOCOL", "XC", "XR",
))  # fmt: skip
# The message of earlier versions, which the ledgers of these versions hold.
_OLD_MESSAGE = re.compile(r" is ([^;]*)(; taken are .*)", re.S)


def name_modality(modality: str) -> str:
    """A modality as a message names it; a value that is not a defined term is not repeated."""
    if not modality:
        return "of another storage class"
    return modality if modality in _KNOWN else "of an unknown modality"


def redact_modality(message: str) -> str:
    """A message of an earlier version, without the value that it quoted from the header."""

    def rename(found: re.Match[str]) -> str:
        kept = found[1] in _KNOWN or found[1] in ("of another storage class", "another modality")
        return f" is {found[1] if kept else 'of an unknown modality'}{found[2]}"

    return _OLD_MESSAGE.sub(rename, message)


def redact_modality_in_summary(summary: str) -> str:
    """The JSON summary of a run, with `redact_modality` applied to its messages."""
    document = json.loads(summary)
    for item in document.get("quarantined", ()):
        if item["code"] == "wrong_modality":
            item["detail"] = redact_modality(item["detail"])
    return json.dumps(document, ensure_ascii=False)
