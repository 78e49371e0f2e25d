"""Tells whether a text is English, since labels are read from English text only.

Words such as `pneumothorax` are the same in many languages, but the words that negate them are not. If most words of a text
are known here, it is English. Otherwise a detector decides (py3langid, with all its languages); detectors mistake short
lines of medical English ("No edema") for other languages.
"""

from __future__ import annotations

import difflib
import functools
import re

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from retrieval.labels.sentences import read_sentences
from retrieval.labels.spans import is_in_span

_READ = 2_000  # characters; fewer are enough to tell the language
# Share of unknown words from which on the detector decides.
_UNKNOWN = 0.26
_WORD = re.compile(r"[^\W\d_]+")
_FREE_OF_WORDS = re.compile(r"\bx{3,}\b|_{2,}", re.IGNORECASE)  # left by de-identification
# Two or three capitalised words in a row are a name if none of them is known.
_NAME = re.compile(r"\b[A-Z][^\W\d_]+(?: [A-Z][^\W\d_]+){1,2}\b")
# Words of English reports that are neither findings nor triggers.
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
# Negations of languages that spell findings as English does; read as English, the finding would be present.
_FOREIGN_DENIAL = re.compile(
    r"\b(?:pas d(?:e|es|u|['’])|aucune?s?|kein(?:e[nmrs]?)?|nicht|geen|niet|sin|sem|senza|nessun[ao]?|inge[nt]|inga|ikke"
    r"|inte|bez|brak|yok|f[aă]r[aă]|absentes?|ausentes?|assent[ei])\b(?!['’])"
    r"|[:=-] *(?:non|nein|nee|nej|nei|nie|não|nu)\b",
    re.IGNORECASE,
)


def is_english(text: str) -> bool:
    """Whether `text` is English, or has no words. A text with a negation in another language is not English."""
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
    return word.group() in _ENGLISH or is_in_span(lowered, word.start()) or _is_misspelling(word.group())


def _without_name(match: re.Match[str]) -> str:
    """A blank for the name of a person or place; any other words unchanged."""
    lowered = match.group().lower()
    return match.group() if any(_is_known(lowered, word) for word in _WORD.finditer(lowered)) else " "


def _is_misspelling(word: str) -> bool:
    """Whether a word is a misspelt finding ("pnumothorax"), or its name in a related language."""
    return len(word) > 5 and bool(difflib.get_close_matches(word, _OFTEN_NAMED, 1, 0.8))


@functools.cache
def _detector() -> LanguageIdentifier:
    # The model takes about 100 MB and a second; only a text with many unknown words needs it.
    return LanguageIdentifier.from_model_file(MODEL_FILE)
