"""Whether a text is English: labels are read from English text alone.

Words such as `pneumothorax` are spelt alike in many languages, the words that deny them are not. A detector decides
(py3langid, all its languages), but not against a text of which nearly all words are known here: detectors take short
lines of medical English ("No edema") for other languages.
"""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING

from retrieval.labels.sentences import read_sentences
from retrieval.labels.spans import is_in_span

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_READ = 2_000  # characters: the language shows in fewer
# Share of words that must be unknown before the detector is asked.
_UNKNOWN = 0.26
_WORD = re.compile(r"[^\W\d_]+")
_FREE_OF_WORDS = re.compile(r"\bx{3,}\b|_{2,}", re.IGNORECASE)  # what de-identification left
# Two or three words with capitals in a row; a name if none of them is known.
_NAME = re.compile(r"\b[A-Z][^\W\d_]+(?: [A-Z][^\W\d_]+){1,2}\b")
# Of the words of English reports, those that neither findings nor triggers hold.
_ENGLISH_WORDS = """
    a abdomen abdominal active acute aerated again all an and annular any aorta aortic apex apical apparent appearance
    appearances appearing area areas artery as aspiration at atelectatic available bandlike basal base bases be been
    behind being below bibasal blunted blunting body bone bones bony borders both by calcified cannot cardiac
    cardiopulmonary cardiothoracic central changes chest chronic clavicle clear clips collapse compared comparison
    confluent consider contour contours coronary cough could crisp crowding day decreased definite degenerative
    demonstrable demonstrated demonstrates density developed developing diaphragm diffuse disease doubt drainage drained
    earlier elevated elevation engorged enlarged evidence exam examination expanded extensive features fever film films
    findings flattened focal following for from frontal further gallbladder great gross grossly has have heart
    hemidiaphragm hemithorax hilar history humerus hyperexpanded hyperinflated hyperinflation hyperlucent identified
    images impression improved improvement improving in increased inferior inflated inserted insertion intact
    interstitial interval is it its keeping large larger lateral left lesion lesions level lies likely limits line
    linear lines lobar lobe lobes loss low lower lrti lung lungs lying lymph maintained major male man marked markedly
    markings may mediastinal mediastinum mid middle midlung might mild mildly minimal minor mitral moderate moderately
    multiple nad near negatives new newly nl none normal noted now obvious of old on op or otherwise outline outlines
    overlies overlying overt pain parenchymal patchy patient persist persisted persisting persists placement please
    pleural portable position positives possible post posterior postop prelim preop present preserved previous
    previously primary prior probable process progressed progression projecting prominent pulmonary question radiograph
    radiographic ratio ray recommend recommended recurrent reduced related remain remains removal removed repositioned
    represents residual resolution resolving reveals review rib ribs right same satisfactory seen segment segmental
    severe shadow shadowing sharp should shoulder show shows side sided significant silhouette silhouettes similar since
    situ size slight slightly small smaller soft space spine stable status sternal sternotomy streaky structures study
    subsegmental subtle suggestive superimposed superior supine surgical suspected suspicious than that the there these
    this thoracic thorax tip tissue tissues to today tortuous trachea tube tubes two unchanged unilateral unlikely
    unremarkable upper vascular ve vein versus vertebral vessels view views visible visualized volume volumes was well
    were which widened wires with within without wnl woman worsened worsening would x xray year yesterday zone zones
"""
_FINDINGS = (
    "pneumothorax effusion cardiomegaly atelectasis consolidation pneumonia fracture opacity infiltrate emphysema"
)
_OFTEN_NAMED = _FINDINGS.split()
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
# Denials of languages that spell findings as English does: in an English report they would be read as affirmed.
_FOREIGN_DENIAL = re.compile(
    r"\b(?:pas d(?:e|es|u|['’])|aucune?s?|kein(?:e[nmrs]?)?|nicht|geen|niet|sin|sem|senza|nessun[ao]?|inge[nt]|inga|ikke"
    r"|inte|bez|brak|yok|f[aă]r[aă]|absentes?|ausentes?|assent[ei])\b(?!['’])"
    r"|[:=-] *(?:non|nein|nee|nej|nei|nie|não|nu)\b",
    re.IGNORECASE,
)


def is_english(text: str) -> bool:
    """Whether `text` is English, or too short of words to tell; not if a part of it denies in another language."""
    return not _FOREIGN_DENIAL.search(text) and _is_english(text[:_READ])


@functools.lru_cache(maxsize=64)
def _is_english(text: str) -> bool:
    plain = _NAME.sub(_without_name, _FREE_OF_WORDS.sub(" ", text))
    lowered = " ".join(read_sentences(plain))  # short forms written out
    words = list(_WORD.finditer(lowered))
    if not words:
        return True
    unknown = sum(not _is_known(lowered, word) for word in words)
    return unknown < _UNKNOWN * len(words) or _detector().classify(plain)[0] == "en"


def _is_known(lowered: str, word: re.Match[str]) -> bool:
    return word.group() in _ENGLISH or is_in_span(lowered, word.start()) or _is_slip(word.group())


def _without_name(match: re.Match[str]) -> str:
    """Nothing for a name of a person or place, which is of no language; else the words as they are."""
    lowered = match.group().lower()
    return match.group() if any(_is_known(lowered, word) for word in _WORD.finditer(lowered)) else " "


def _is_slip(word: str) -> bool:
    """Whether a word is a finding with a slip of the pen ("pnumothorax"), or its name in a related language."""
    return len(word) > 5 and bool(difflib.get_close_matches(word, _OFTEN_NAMED, 1, 0.8))


@functools.cache
def _detector() -> LanguageIdentifier:
    # About 100 MB and a second or more, which only a text with many unknown words needs.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)
