"""The sentences of a text, with wrapped lines joined and short forms written out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

# In "pneumonia? Effusion" the question mark ends a sentence; in "? pneumonia" it does not.
_SENTENCE_END = re.compile(r"(?<!\d)\.|\.(?!\d)|[;!\n]|(?<=\w\?)(?=[\s),]|$)")
_LONGEST = 1_000  # characters of a sentence
_BLANKS = re.compile(r"[ \t]{2,}")
_DOTS = re.compile(r"(?<!\.)\.(?: ?\.)+")
_LINE_END = re.compile(r"\r\n?|\n")
# "effusion | none": the cells of a table.
_CELL = re.compile(
    r"[ \t]*[|\t][ \t]*(?=(?:none|no|nil|negative|absent|yes|present)\b[ \t]*(?:$|[|.,;\r\n]))", re.IGNORECASE
)
# Items in one line: "1) cardiomegaly 2) no effusion". Text in brackets is no item.
_ITEM_IN_LINE = re.compile(r"\([^()\n]*\)|(?<!\S)(?:(?:\d{1,2}|[a-h])\)|[*•▪●])(?= )")
# The end of a line that negates each item below it.
_NEGATES_ITEMS = re.compile(
    r"\b(?:no|not|without|evidence of|evidence for|negatives?|negative for|free of"
    r"|absent|excluded|not (?:seen|present|identified))"
    r"(?: (?:any of )?the following(?: \w+)?)? ?:$",
    re.IGNORECASE,
)

# A line that ends like `_GOES_ON` is continued ("effusion: no" is complete); a line like `_CONTINUES` continues one.
_GOES_ON = re.compile(
    r"(?:[,(/&]|\w-|(?<![:=])(?<![:=] )\bno|\b(?:not|without|w/o|or|and|nor|neither|of|the|an?|with|w/|is|are|was|were"
    r"|for|any|evidence|focal|pleural|significant|definite))$",
    re.IGNORECASE,
)
_CONTINUES = re.compile(r"(?:or|and|nor|of|is|are|was|were)\b", re.IGNORECASE)
_ANSWER = re.compile(r"(?:none|no|negative|neg|absent)\b[ .]*$", re.IGNORECASE)
_ITEM = re.compile(r"(?:[-*•+]|\d+[.)])\s")
# Lines of prose have a full stop or a verb; lines of a list of findings do not, and are short.
_PROSE = re.compile(r"\.(?!\d)|\b(?:is|are|was|were|has|have)\b", re.IGNORECASE)
_LONG, _LONG_IN_ONE_CASE = 30, 50

# A short form of a side may end a sentence: "on the lt. No effusion."
_SHORTENED = re.compile(r"\b(?:(sig|signif|evid|poss|prob|vs)|(lt|rt|bilat)(?=\.[ -]*(?-i:[a-z])))\.", re.IGNORECASE)
_BOXED = r"(yes|no|none|present|absent)\b(?= *(?:$|[.,;\n\[(☐☑☒]))"
_MEANINGS = [
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (r"\?[?!]+", "? "),
        (r" ?… ?(?=(?:none|no|nil|negative|absent|yes|present)\b *(?:$|[.,;\n]))", ": "),
        (r"…", "."),
        (r"[:=][ \t]*n(?= *(?:$|[.,;\n]))", ": no"),
        # Boxes with answers: "pneumothorax: [ ] yes [x] no".
        (rf"(?:\[ ?\]|\( \)|☐) *{_BOXED}", " "),
        (rf"(?:\[[x✓✔]\]|\([x✓✔]\)|☑|☒) *{_BOXED}", r" : \1,"),
        # A box before its finding, or a sign after its finding.
        (r"(?:\[ ?\]|\( \)|☐)(?= *\w)", "; no "),
        (r"(?:\[[x✓✔]\]|\([x✓✔]\)|☑|☒)(?= *\w)", "; "),
        (r"[\[\]]", " "),
        (r"(?<=[a-z]{3})\+(?=[\s,;.]|$)", " : yes,"),
        (r"(?<=[a-z]{3})-(?=\s*(?:[,;.\n]|$)|\s+[a-z]{3,}[-+](?:\s|$))", " : no,"),
        (r"(?<=ca)n['’]t\b|n['’]t\b", " not"),
        (r"\bcan not\b", "cannot"),
        (r"\?[ \t]+(?=(?:none|no|negative|absent|yes|present)\b *(?:$|[.,;\n]))", ": "),
        (r"\bw ?/ ?o(?:ut)?\b|\bwo\b", "without"),
        (r"\bw ?/(?= ?\w)", "with "),
        (r"\bc\. ?p\.(?= ?(?:angle|sulc|recess))", "cp"),
        (r"\bsig(?:nif)?\b", "significant"),
        (r"\bevid\b", "evidence"),
        (r"\bposs\b", "possible"),
        (r"\bprob\b", "probable"),
        (r"\bneg(?:\.(?= for\b)|\b)|(?<!\w)-ve(?= for\b)", "negative"),
        (r"[:=][ \t]*(?:0|false)(?!\w|\.\d)", " : no,"),
        (r"(?:[:=][ \t]*)?(?:\( ?- ?\)|(?<!\w)-ve\b)", " : no,"),
        (r"(?:[:=][ \t]*)?(?:\( ?\+ ?\)|(?<!\w)\+ve\b(?! for))", " : yes,"),
    )
]


def read_sentences(text: str) -> Iterator[str]:
    """The non-empty sentences of `text`, in lower case, with single blanks and short forms written out."""
    text = _CELL.sub(": ", _DOTS.sub("…", _BLANKS.sub(" ", text)))
    text = _ITEM_IN_LINE.sub(lambda item: item[0] if item[0].startswith("(") else ";", text)
    plain = _SIGNS_FIRST.sub(_spell_signs, _unwrap(_SHORTENED.sub(r"\1\2", text)).lower())
    for pattern, meaning in _MEANINGS:
        plain = pattern.sub(meaning, plain)
    for sentence in _SENTENCE_END.split(plain):
        rest = " ".join(sentence.split())
        while len(rest) > _LONGEST:  # longer than any statement; the time grows with the square of the length
            cut = rest.rfind(" ", 0, _LONGEST) + 1 or _LONGEST
            yield rest[:cut].rstrip()
            rest = rest[cut:]
        if rest:
            yield rest


# "+ve effusion, -ve pneumothorax": if a statement begins with a sign, each sign belongs to the finding after it.
_SIGNS_FIRST = re.compile(r"(?:^|(?<=[.;\n]))[ \t]*[-+]ve\b(?! for)[^.;\n]*")


def _spell_signs(match: re.Match[str]) -> str:
    return match.group().replace("+ve", ", positive for").replace("-ve", ", negative for")


def _unwrap(text: str) -> str:
    """`text` with line feeds only between statements."""
    lines = [" ".join(line.split()) for line in _LINE_END.split(text)]
    if len(lines) == 1:
        return text
    prose = bool(_PROSE.search(text))
    cased = text.upper() != text and any(line[:1].isupper() for line in lines)
    lines = list(_join_denied_items(lines))
    parts = [lines[0]]
    for line, following in itertools.pairwise(lines):
        if not _is_wrapped(line, following, prose=prose, cased=cased):
            parts.append("\n")
        elif not line.endswith("-"):
            parts.append(" ")
        parts.append(following)
    return "".join(parts)


def _join_denied_items(lines: list[str]) -> Iterator[str]:
    """`lines`, with the items below a heading such as "No evidence of:" joined to it as a list."""
    waiting = ""
    for line in lines:
        item = _ITEM.match(line) if waiting else None
        if item:
            waiting += f"{' ' if waiting.endswith(':') else ', '}{line[item.end() :].rstrip(' .;,')}"
            continue
        if waiting:
            yield waiting
        waiting = line if _NEGATES_ITEMS.search(line) else ""
        if not waiting:
            yield line
    if waiting:
        yield waiting


def _is_wrapped(line: str, following: str, *, prose: bool, cased: bool) -> bool:
    """Whether the statement of `line` continues in the line `following`."""
    if not line or not following or _ITEM.match(following):
        return False
    if line[-1] in ".;!?:":
        return line[-1] == ":" and bool(_ANSWER.match(following))
    if _GOES_ON.search(line) or _CONTINUES.match(following):
        return True
    if cased:
        return following[0].islower() and (prose or len(line) >= _LONG)
    return prose and len(line) >= _LONG_IN_ONE_CASE
