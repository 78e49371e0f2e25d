"""Labels are read from English text only, and from long reports up to a limit."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.report_labels import read_table
from ingest.labels.study import label_study, unread_text
from ingest.source_images import read_images
from retrieval.labels import find_mentions
from retrieval.labels.language import is_english
from retrieval.labels.report_labels import LONGEST_TEXT, read_report
from retrieval.records import ImageRecord, Report, Study

OTHER_LANGUAGES = {
    "Spanish": ["Sin edema pulmonar.", "No se observa derrame pleural ni pneumothorax.", "No hay edema.", "Radiografía normal."],
    "French": ["Pas de pneumothorax.", "Pas d'atelectasie. Pas de fracture.", "Fracture de la 5e cote gauche."],
    "German": ["Kein Nachweis eines Pneumothorax.", "Pneumothorax wurde ausgeschlossen.", "Kein Emphysema."],
    "Italian": ["Non segni di pneumothorax.", "Non si osserva edema.", "Assenza di fractures."],
    "Portuguese": ["Sem edema.", "Sem sinais de pneumonia.", "Não há pneumothorax."],
    "Dutch": ["Geen pneumothorax.", "Geen infiltraat. Geen edema.", "Hart niet vergroot, geen pneumothorax."],
    "Swedish": ["Ingen pneumothorax.", "Inga infiltrat, ingen fracture."],
    "Danish": ["Ingen tegn på pneumothorax.", "Ingen pneumothorax eller edema."],
    "Norwegian": ["Ikke pneumothorax.", "Ingen holdepunkter for pneumothorax."],
    "Polish": ["Bez cech pneumothorax.", "Bez cech edema."],
    "Turkish": ["Pneumothorax yok.", "Edema izlenmedi."],
    "Finnish": ["Ei pneumothoraxia.", "Keuhkot siistit, ei edema."],
    "Romanian": ["Fara pneumothorax.", "Fără edema."],
    "Czech": ["Bez pneumothorax.", "Srdce nezvětšeno, bez edema."],
    "Hungarian": ["Pneumothorax nem látható."],
    "Russian": ["Без pneumothorax."],
    "Chinese": ["未见 pneumothorax。"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "text"), [(name, text) for name, texts in OTHER_LANGUAGES.items() for text in texts]
)
def test_text_in_another_language_gives_no_labels(language, text):
    labels = label_study("", "", text, "")
    assert (labels.present, labels.uncertain, labels.absent) == ((), (), ())
    mentions = find_mentions(text)
    assert (mentions.asked, mentions.denied, mentions.english) == ((), (), False)
    assert unread_text(text, "")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(OTHER_LANGUAGES)).flatmap(
        lambda name: st.lists(st.sampled_from(OTHER_LANGUAGES[name]), min_size=1)
    )
)
def test_longer_texts_in_another_language_give_no_labels(texts):
    assert not is_english(" ".join(texts))
    assert not is_english("\n".join(texts).upper()) or not read_report("\n".join(texts).upper()).present


@pytest.mark.parametrize(
    "text",
    [
        "No acute disease.", "Normal chest.", "No edema.", "Cardiomegaly.", "No pneumothorax or pleural effusions.", "PTX", "",
        "Normal", "Negative.", "No active disease.", "No pneumonia. Heart size normal. Scoliosis.", "effusion+ pneumothorax-",
        "XXXX XXXX", "___", "12.5", "No focal infiltrate, pneumothorax or pulmonary edema", "Atelectasis: Bibasilar, minimal",
        "NO EFFUSION OR PNEUMOTHORAX.", "Tracheostomy in situ.",
    ],
)  # fmt: skip
def test_short_english_reports_are_english_if_they_name_anything(text):
    read = read_report(text)
    assert is_english(text) or not (read.present or read.uncertain or read.absent)


@pytest.mark.parametrize("table", ["labelled_sentences", "held_out_sentences", "other_styles"])
def test_at_most_two_percent_of_the_tables_are_mistaken_for_another_language(table):
    rows = [row["phrase"] for row in read_table(table) if row["present"] or row["uncertain"] or row["absent"]]
    lost = [phrase for phrase in rows if not is_english(phrase)]
    assert len(lost) <= 0.02 * len(rows), lost


@pytest.mark.parametrize(
    "text",
    [
        "Lungs are clear. No effusion. Pas de pneumothorax.",
        "Kein Pneumothorax. No effusion.",
        "Heart size normal. Lungs are clear. Sin edema.",
        "Fracture : non. Pneumothorax : absent.",
    ],
)
def test_a_line_in_another_language_leaves_a_report_unlabelled(text):
    assert label_study("", "", text, "").present == ()
    assert unread_text(text, "")


def test_the_indexing_counts_in_every_language_of_the_report():
    assert "Pneumothorax" in label_study("Pneumothorax", "Pneumothorax", "Pas de pneumothorax.", "").present


def test_an_ingest_notes_text_that_was_not_read():
    def notes(report):
        study = Study("1", "own", (ImageRecord("a.png", "a.png"),), report)
        return [job.study.notes for job in read_images([study])]

    assert notes(Report("Pas de pneumothorax.")) == [("report not in English: no labels from its text",)]
    assert notes(Report("Small effusion.")) == notes(Report()) == [()]
    assert notes(Report("Small effusion. " * 4000)) == [("long report: labels from its first 50,000 characters",)]


def test_text_beyond_the_limit_gives_no_labels():
    filler = "The lungs are seen. " * (LONGEST_TEXT // 20)
    assert label_study("", "", f"Effusion. {filler}", "").present[0] == "Pleural Effusion"
    assert not label_study("", "", f"{filler} Effusion.", "").present


ATOMS = ["no ", "effusion ", "effusion, ", "or ", "and ", ", ", ": ", "? ", "- ", "/", "[ ] ", "negative for ", "has resolved ",
         "nearly ", "heart ", "normal ", "until ", "// ", "...", " ", "\n", "calcified a b ", "curvature of the ", "_", "x", "("]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4))
def test_no_text_takes_long(atoms):
    text = ("".join(atoms) * 200_000)[:200_000]
    start = time.monotonic()
    label_study("", "", text, "")
    assert time.monotonic() - start < 60  # about a second; quadratic work would take minutes


@pytest.mark.parametrize(
    "text", ["Jane Doe, effusion, no cardiomegaly", "no effusion, John Smith", "small effusion, Saint Mary Hospital"]
)
def test_names_of_persons_do_not_count_as_another_language(text):
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "Kein Erguss. Kein Pneumothorax.",
        "Aucun Epanchement, aucun Pneumothorax",
        "Nessun Versamento, Pneumothorax assente",
    ],
)
def test_other_languages_are_detected_in_words_with_capitals(text):
    assert not is_english(text)
