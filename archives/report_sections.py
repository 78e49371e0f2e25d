"""Splits a report text with headings into sections: `INDICATION: … FINDINGS: … IMPRESSION: …`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from retrieval.records import Report

_FIELDS = ("findings", "impression", "indication", "comparison")

# Sections `technique` and `closing` are dropped. A `title` starts a new report text. A `part` is the heading of an organ or
# view inside the findings. The order matters: "previous findings" must match `comparison` before `findings`.
_STUDY = r"(?:stud(?:y|ies)|exam(?:ination)?s?|imaging|films?|radiographs?|x-?rays?|cxr|reports?|findings?)"
_OF_HISTORY = (
    "brief|relevant|patient|clinical|medical|surgical|past|presenting|prior|previous|remote|social|family|interval|smoking"
    "|occupational|oncolog(?:y|ic|ical)|cardiac|pertinent|known"
)
_NAMES = {
    "comparison": (
        rf"comparisons?(?: {_STUDY})?|comparison made|compared (?:to|with)"
        rf"|(?:previous|prior|old|earlier|relevant prior) {_STUDY}|priors?|previous"
    ),
    "indication": (
        r"(?:clinical |study |exam(?:ination)? )?indications?(?: for (?:the )?(?:stud|exam)\w{1,9})?"
        rf"|(?:(?:{_OF_HISTORY}) ){{0,3}}history"
        r"(?: of (?:the )?present(?:ing)? (?:illness|complaint))?|hx|pmhx?|hpi"
        r"|(?:clinical )?(?:indications? ?(?:and|/|&) ?(?:clinical )?history|history ?(?:and|/|&) ?indications?)"
        r"|clinical (?:information|info|details?|data|question|background|notes?|summary|statement|context|impression"
        r"|diagnosis|problem|presentation|concern|request)"
        r"|reasons? for (?:this |the )?(?:exam(?:ination)?|study|request|referral|visit|procedure|test|x-?ray|imaging|order)"
        r"|(?:underlying )?medical condition|(?:(?:chief|presenting) )?complaints?|(?:signs and )?symptoms"
        r"|(?:referral|request|order)(?: (?:details|reason|information))?"
        r"|(?:working|provisional|admitting|referring|pre-?operative) diagnosis|question|reason"
    ),
    "technique": (
        r"techniques?|(?:type of )?(?:exam(?:ination)?|study|procedure)s?(?: (?:type|date|name|description|performed))?"
        r"|(?:imaging )?protocol|modality|views?|projections?|number of views|date(?: of (?:exam(?:ination)?|study))?"
        r"|contrast|(?:radiation )?dose|(?:image|technical|study) quality|limitations?"
    ),
    "closing": (
        r"recommendations?|notifications?(?: of .{1,30})?|advice|follow[- ]?up|plan|communications?"
        r"|critical (?:results?|findings?)(?: communication)?|(?:electronically )?signed(?: by)?|dictated(?: by)?"
        r"|reported by|transcribed(?: by)?"
        r"|(?:attending )?(?:radiologist|physician)|attestation|disclaimer|end of (?:report|impression)"
    ),
    "impression": (
        r"(?:(?:final|overall|radiolog\w{1,6}|summary|diagnostic) )?(?:impressions?|conclusions?|opinions?)|imp|impr|summary"
        r"|(?:impression|conclusion)s? ?(?:and|/|&) ?(?:recommendations?|plan|opinion)|diagnos[ie]s|comments?"
        r"|adden(?:dum|da)(?: to .{1,30})?"
    ),
    "findings": (
        r"(?:(?:radiographic|radiological|imaging|chest|main|key|x-?ray) )?findings?"
        r"(?: ?(?:,|and|/|&) ?(?:impressions?|conclusions?))?|impressions? ?(?:and|/|&) ?findings|reports?|report text"
        r"|narrative|description|body|results?|observations?|interpretation"
    ),
    "wet_read": r"wet[- ]?read(?:ing)?|preliminary (?:read|interpretation|findings|impression)",
    "title": r"(?:final|preliminary|radiology|diagnostic|imaging|chest|x-?ray)(?: \w{1,12})? report",
    "part": (
        r"lungs?(?: (?:and|&) (?:airways?|pleura\w{0,3})| fields| parenchyma)?|airways?|pleurae?|pleural spaces?|bones?"
        r"|(?:heart|cardiac)(?: size| silhouette)?(?: ?(?:and|/|&) ?mediastinum)?|cardiovascular|hil(?:a|um)|diaphragms?"
        r"|cardiomediast\w{1,6}(?: silhouette)?|mediastinum|osseous(?: structures)?|soft tissues|chest wall"
        r"|(?:upper )?abdomen|musculoskeletal"
        r"|(?:lines|tubes|devices|catheters|hardware|support)(?: ?(?:,|and|/|&) ?\w{1,12}){0,3}"
        r"|(?:plain )?(?:x-?ray |xr |cr )?chest"
        r"(?:,? (?:x-?rays?|radiographs?|films?|ap|pa|and|lateral|portable|(?:two|one|single|[12]) views?)){0,4}"
        r"|cxr"
    ),
}
_GROUPS = "|".join(f"(?P<{kind}>{names})" for kind, names in _NAMES.items())
_CLOSE = r"(?:[*_]{1,3}|</(?:b|i|u|h\d|strong|em|span)>){0,2}"
_OPEN = r"[ \t>#*_=-]*(?:<(?:b|i|u|h\d|strong|em|span)>){0,2}"
_COLON = rf"{_CLOSE}[ \t]*[:：]+{_CLOSE}"
# The view before the findings: "AP CHEST, 3:45 P.M.:", "PORTABLE UPRIGHT RADIOGRAPH OF THE CHEST:".
_VIEW = (
    r"(?-i:(?=[A-Z0-9_,.:/()& -]{0,60}\b(?:CHEST|VIEWS?|RADIOGRAPHS?|FILMS?|CXR|AP|PA)\b)[A-Z][A-Z0-9_,.:/()& -]{2,80})"
)
# A heading at the start of a line ends with a colon, a dash, the end of the line, or the end of bold markup.
_AT_LINE = re.compile(
    rf"^{_OPEN}(?:(?:{_GROUPS})(?:\(s\))?(?:{_COLON}|[ \t]*[–—-]+[ \t]|{_CLOSE}[ \t*_=#-]*$|(?:\*\*|__|</(?:b|strong|h\d)>))"
    rf"|(?P<view>{_VIEW}):(?=\s|$))",
    re.IGNORECASE | re.MULTILINE,
)
_IN_LINE = re.compile(rf"(?<![^\s.;!?*>)\]_/])(?:{_GROUPS})(?:\(s\))?{_COLON}", re.IGNORECASE)
# A heading in capitals needs no colon if the text also has lower-case letters.
_CAPITALS = re.compile(
    r"(?<!\S)(?:(?P<indication>(?:CLINICAL )?(?:INDICATION|HISTORY|INFORMATION)S?)|(?P<comparison>COMPARISONS?)"
    r"|(?P<technique>TECHNIQUE)|(?P<findings>FINDINGS)|(?P<impression>IMPRESSION|CONCLUSION)S?|(?P<closing>RECOMMENDATIONS?|NOTIFICATION))"
    r"(?=\s)(?!\s+[A-Z]{2})"
)
_BREAK = re.compile(r"\r\n?|(?:\\r)?\\n|_x000D_\n?|<br ?/?>|</?(?:p|div|li)>", re.IGNORECASE)
_BRACKETED = re.compile(rf"(?:\[|</?)({'|'.join(_NAMES[kind] for kind in list(_NAMES)[:6])})[\]>]:?", re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_SENTENCE = re.compile(r"(?<=[^\d\s]\.)\s+(?=[A-Z])")
# After "Comparison: None." or "Comparison: ___." the findings of today follow.
_NO_COMPARISON = re.compile(
    r"\W{0,3}(?:none|nil|n/?a|no [^.]{1,40}|not available|unavailable|[\d_/]{2,12})\W{0,3}$", re.IGNORECASE
)
_BEFORE_FINDINGS = ("indication", "comparison", "technique")


@dataclass(frozen=True, slots=True)
class _Heading:
    kind: str
    start: int
    end: int


def split_report(report: Report) -> Report:
    """`report` with the headings in its findings and impression split into sections.

    - Text without headings stays in its field.
    - Text under technique, recommendations or signatures is dropped.
    - Text before the first heading stays in its field; if there is a heading for findings, it is the indication.
    - Without a heading for findings, paragraphs after indication, comparison or technique are findings.
    - A preliminary reading is used if there is no other.
    """
    texts: dict[str, dict[str, None]] = {field: {} for field in _FIELDS}
    for field, text in asdict(report).items():
        parts = _split(text, field) if field in ("findings", "impression") else [(field, text)]
        for section, part in parts:
            if section in texts and (stripped := part.strip()):
                texts[section][stripped] = None  # the same text in two columns counts once
    return Report(**{field: "\n".join(found) for field, found in texts.items()})


def _split(text: str, field: str) -> list[tuple[str, str]]:
    """Pairs (section, text) of the text of a field."""
    plain = _BRACKETED.sub(r"\n\1:\n", _BREAK.sub("\n", text.replace("\xa0", " ")))
    headings = _find_headings(plain)
    if not headings:
        return [(field, text)]
    parts = [(section, part) for section, part in _read_parts(plain, headings, field) if part.strip()]
    if not any(section in ("findings", "impression") for section, _ in parts):
        parts = [(field if section == "wet_read" else section, part) for section, part in parts]
    return parts


def _find_headings(text: str) -> list[_Heading]:
    """The headings of `text` in order. Headings of organs and views count only if they start the findings."""
    found = {match.start(_kind(match)): match for match in _AT_LINE.finditer(text)}
    has_small, has_capitals = text.upper() != text, text.lower() != text
    for match in _IN_LINE.finditer(text):
        start = match.start()
        before = text[max(0, start - 8) : start].rstrip(" \t*_>")
        begins = not before or before[-1] in ".;!?\n)]/"
        if begins or (has_capitals and text[start].isupper() and _kind(match) != "part"):
            found.setdefault(start, match)
    for match in _CAPITALS.finditer(text) if has_small else ():
        found.setdefault(match.start(), match)
    headings: list[_Heading] = []
    for start in sorted(found):
        match = found[start]
        if not headings or start >= headings[-1].end:
            headings.append(_Heading("part" if _kind(match) == "view" else _kind(match), match.start(), match.end()))
    if any(each.kind == "findings" for each in headings):
        return [each for each in headings if each.kind != "part"]
    kinds = ["", *(each.kind for each in headings)]
    return [
        each for each, before in zip(headings, kinds, strict=False) if each.kind != "part" or before in _BEFORE_FINDINGS
    ]


def _kind(match: re.Match[str]) -> str:
    return str(match.lastgroup)


def _read_parts(text: str, headings: list[_Heading], field: str) -> Iterator[tuple[str, str]]:
    kinds = [each.kind for each in headings]
    preamble = "indication" if field == "findings" and "findings" in kinds else field
    yield preamble, text[: headings[0].start]
    # Without a heading for findings, they follow the last of these sections.
    last = (
        -1
        if {"findings", "part"} & {*kinds}
        else max((n for n, k in enumerate(kinds) if k in _BEFORE_FINDINGS), default=-1)
    )
    ends = [*(each.start for each in headings[1:]), len(text)]
    for number, (heading, end) in enumerate(zip(headings, ends, strict=True)):
        part = text[heading.end : end]
        if heading.kind == "title":
            yield preamble, part
        elif heading.kind == "part":
            yield field, text[heading.start : end]
        elif number == last:
            own, rest = _leave_section(heading.kind, part, is_all="impression" not in kinds)
            yield heading.kind, own
            yield field, rest
        else:
            yield heading.kind, part


def _leave_section(kind: str, text: str, *, is_all: bool) -> tuple[str, str]:
    """The text of the section, and the text after it without a heading; `is_all`: the report has no impression heading."""
    own, *rest = _PARAGRAPH.split(text.strip("\n "), maxsplit=1)
    if not rest and kind != "indication":
        first, *others = _SENTENCE.split(own, maxsplit=1)
        if others and (is_all or kind == "technique" or _NO_COMPARISON.match(first)):
            return first, others[0]
    return own, "".join(rest)
