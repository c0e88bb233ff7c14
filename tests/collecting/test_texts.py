"""Texts for annotators and speakers: all there, in both languages."""

import re
from dataclasses import asdict
from xml.etree import ElementTree

import pytest

from dusha_ser.collecting.prompts import PAIRS
from dusha_ser.collecting.texts import (
    TEXTS,
    annotator_instructions,
    answer_label,
    answer_name,
    speaker_instruction,
)
from dusha_ser.vocabulary import ANSWERS, EMOTIONS, LANGUAGES

LETTERS = {"ru": re.compile("[а-яё]", re.IGNORECASE), "en": re.compile("[a-z]", re.IGNORECASE)}


def said(value):
    """All texts in a value, one after the other."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [text for part in parts for text in said(part)]


def test_texts_when_languages_are_compared():
    assert tuple(TEXTS) == LANGUAGES
    for language, texts in TEXTS.items():
        assert set(texts.names) == set(texts.meanings) == set(ANSWERS)
        assert set(texts.manners) == set(EMOTIONS)
        assert len(texts.steps) == len(TEXTS["ru"].steps)
        (other,) = set(LANGUAGES) - {language}
        for text in said(asdict(texts)):
            assert LETTERS[language].search(text), text
            assert not LETTERS[other].search(text), text


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("sad", "sad"),
        (" ANGRY ", "angry"),
        ("Грусть", "sad"),
        ("Злость / Angry", "angry"),
        ("Нейтрально / Neutral", "neutral"),
        ("Другое / Other: too quiet", "other"),
        ("Позитив: улыбка", "positive"),
        ("positively", None),
        ("", None),
    ],
)
def test_answer_label_of_names_as_people_write_them(answer, label):
    assert answer_label(answer) == label


@pytest.mark.parametrize("language", [None, *LANGUAGES])
@pytest.mark.parametrize("label", ANSWERS)
def test_answer_label_of_each_name_there_is(label, language):
    assert answer_label(answer_name(label, language)) == label


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("pair", PAIRS)
def test_speaker_instruction_when_two_emotions_fit_a_text(pair, language):
    texts, text = TEXTS[language], speaker_instruction(pair, language)
    places = [text.index(texts.manners[one]) for one in pair]
    assert places == sorted(places)
    assert all(texts.names[one].lower() in text for one in pair)
    assert "{" not in text


@pytest.mark.parametrize("exam", [True, False])
@pytest.mark.parametrize("language", [None, *LANGUAGES])
def test_annotator_instructions_when_a_platform_takes_them(language, exam):
    page = annotator_instructions(language, exam)
    text = " ".join("".join(ElementTree.fromstring(page).itertext()).split())
    for name, texts in TEXTS.items():
        wanted = language in (None, name)
        everything = (texts.title, texts.question, *texts.steps, *texts.meanings.values())
        assert [one in text for one in everything] == [wanted] * len(everything)
        assert (texts.care in text) == (wanted and exam)
