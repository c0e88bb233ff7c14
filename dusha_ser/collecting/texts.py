"""What annotators and speakers read, in Russian and English.

The meanings of the five answers are those of the paper, section 3.3, in its order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from dusha_ser.vocabulary import RUSSIAN_NAMES


@dataclass(frozen=True)
class Texts:
    """All texts in one language.

    Attributes:
        title: of the instructions.
        question: what annotators are asked about each recording.
        steps: what annotators do.
        care: what to know about the exam and the checks.
        names: of the five answers.
        meanings: of the five answers.
        prompt: of speakers, with places for two manners and the names of their emotions.
        manners: how speakers express each of the four emotions.
    """

    title: str
    question: str
    steps: tuple[str, ...]
    care: str
    names: dict[str, str]
    meanings: dict[str, str]
    prompt: str
    manners: dict[str, str]


_ANSWERS = ("positive", "neutral", "sad", "angry", "other")
TEXTS = {
    "ru": Texts(
        title="Эмоции в голосе: инструкция",
        question="Какую эмоцию выражает голос?",
        steps=(
            "Прослушайте запись до конца, лучше в наушниках и в тишине.",
            "Выберите один ответ — эмоцию, которую выражает голос. Важно, как сказано, а не что "
            "сказано.",
            "Если сомневаетесь, прослушайте запись ещё раз.",
        ),
        care="Сначала пройдите экзамен. Выполняйте все задания одинаково внимательно: время от "
        "времени ответы проверяются.",
        names={name: RUSSIAN_NAMES[name].capitalize() for name in _ANSWERS},
        meanings={
            "positive": "улыбка, смех, восхищение, игривый тон или явный акцент на хорошем",
            "neutral": "ровный, спокойный голос; грустный или весёлый текст, сказанный без эмоций, "
            "— тоже нейтрально",
            "sad": "грусть, тоска, потухший голос",
            "angry": "злость или раздражение: крик, слова сквозь зубы или явный акцент на плохом",
            "other": "слишком тихо, шипение, треск или голоса нет совсем",
        },
        prompt="Произнесите текст {} («{}») либо {} («{}») и отметьте, какой вариант выбрали.",
        manners={
            "positive": "с улыбкой, игриво или с восхищением",
            "neutral": "спокойно, без эмоций",
            "sad": "грустно, потухшим голосом",
            "angry": "зло или с раздражением",
        },
    ),
    "en": Texts(
        title="Emotion in the voice: instructions",
        question="Which emotion does the voice express?",
        steps=(
            "Listen to the whole recording, if you can with headphones and in a quiet place.",
            "Choose one answer: the emotion that the voice expresses. What matters is how it is "
            "said, not what is said.",
            "If you are not sure, listen again.",
        ),
        care="Take the exam first. Do every task with the same care: answers are checked from "
        "time to time.",
        names={name: name.capitalize() for name in _ANSWERS},
        meanings={
            "positive": "a smile, laughter, admiration, a playful tone, or clear stress on what is "
            "good",
            "neutral": "an even, calm voice; a sad or cheerful text said without emotion is "
            "neutral, too",
            "sad": "sadness, melancholy, a faded voice",
            "angry": "anger or annoyance: shouting, words through gritted teeth, or clear stress "
            "on what is bad",
            "other": "too quiet, hissing, crackling, or no voice at all",
        },
        prompt="Say the text {} ({}) or {} ({}), and note which one you chose.",
        manners={
            "positive": "with a smile, playfully or with admiration",
            "neutral": "calmly, without any emotion",
            "sad": "sadly, in a faded voice",
            "angry": "angrily or with annoyance",
        },
    ),
}


def texts_of(language: str | None) -> list[Texts]:
    """Return the texts of a language; without one those of all, Russian first."""
    return [TEXTS[language]] if language else list(TEXTS.values())


def answer_name(label: str, language: str | None) -> str:
    """Return the name of an answer as annotators read it.

    Examples:
        >>> answer_name("sad", "ru"), answer_name("sad", None)
        ('Грусть', 'Грусть / Sad')
    """
    return " / ".join(texts.names[label] for texts in texts_of(language))


def answer_label(answer: str) -> str | None:
    """The label that an answer means by its name or the interface's; None if there is none.

    Examples:
        >>> answer_label("Грусть"), answer_label("Sad: sadness"), answer_label("maybe")
        ('sad', 'sad', None)
    """
    name = answer.partition(":")[0].strip().lower()
    for label in _ANSWERS:
        titles = (answer_name(label, language).lower() for language in (None, *TEXTS))
        if name in (label, *titles):
            return label
    return None


def speaker_instruction(emotions: Sequence[str], language: str) -> str:
    """Return what a speaker is asked to do with a text and two emotions.

    Examples:
        >>> speaker_instruction(("sad", "angry"), "en").split(", and")[0]
        'Say the text sadly, in a faded voice (sad) or angrily or with annoyance (angry)'
    """
    texts = TEXTS[language]
    words = [(texts.manners[one], texts.names[one].lower()) for one in emotions]
    return texts.prompt.format(*(word for pair in words for word in pair))


def annotator_instructions(language: str | None, exam: bool) -> str:
    """Return what annotators read before the first task, as HTML that platforms take.

    Args:
        language: of the text; None: all, one after the other.
        exam: whether there are an exam and control tasks.

    Returns:
        A fragment of a page, without anything that a platform would remove.
    """
    page = ElementTree.Element("div")

    def add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
        child = ElementTree.SubElement(parent, tag)
        child.text = text
        return child

    for texts in texts_of(language):
        add(page, "h2", texts.title)
        steps = add(page, "ol")
        for step in texts.steps:
            add(steps, "li", step)
        add(page, "p", texts.question)
        answers = add(page, "ul")
        for label in _ANSWERS:
            item = add(answers, "li")
            add(item, "b", texts.names[label]).tail = f": {texts.meanings[label]}"
        if exam:
            add(page, "p", texts.care)
    ElementTree.indent(page)
    return ElementTree.tostring(page, encoding="unicode", method="html") + "\n"
