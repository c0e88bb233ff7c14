"""What the page says, in Russian and English, by the language of a visitor's browser."""

from typing import Any

from dusha_ser.vocabulary import RUSSIAN_NAMES

ENGLISH, RUSSIAN = "en", "ru"
TEXTS = {
    ENGLISH: {
        "title": "Emotion in speech",
        "about": "Choose a recording or speak: the model says which emotion a listener would hear.",
        "limits": "The model predicts what listeners from one crowd would most likely hear in such "
        "speech. That is not what somebody feels, and not fit to decide anything about a person. "
        "Recordings stay on the machine that runs this page and are deleted within about an hour. "
        "Model: {model}.",
        "recording": "Recording",
        "live": "Live",
        "choose": "Recording, up to {megabytes} MB and {minutes} min",
        "speech_only": "Speech only: leave out silence and noise",
        "examples": "Examples",
        "synthetic": "Examples, in a synthetic voice",
        "all_in_turn": "all in turn",
        "heard": "What was heard",
        # Answers.
        "empty": "Nothing to show yet: choose a recording, an example, or speak.",
        "no_speech": "No speech was found in this recording.",
        "too_long": "This recording is longer than {minutes} minutes, the limit here; cut it, or "
        "classify it with dusha predict.",
        "unreadable": "This recording cannot be read; choose an audio file, such as WAV, MP3 or "
        "M4A.",
        "failed": "This recording could not be classified; try another one.",
        "whole": "The whole recording ({duration})",
        "shares": "Share of the time ({duration})",
        "shares_of_speech": "Share of the {speech} with speech ({duration})",
        "emotion": "emotion",
        "share": "share of time",
        "probability": "mean probability",
        "no_prediction": "no prediction",
        "waveform": "Waveform of {duration}. Share of the time: {shares}.",
        "silence": "no speech",
        "click": "Click the waveform to play from there.",
        "csv": "Download CSV",
        "windows": "The {number} windows as a table",
        "window": "window",
        "span": "{start} to {end} s",
        # The microphone.
        "speak": "Nothing to show yet: press Start and speak.",
        "limit_live": "Up to {minutes} min at a time.",
        "listening": "Listening. The first prediction comes after three seconds of audio.",
        "now": "Now: the last three seconds",
        "nothing": "Nothing was heard.",
        "taken": "All {speakers} places at microphones are taken; try again later.",
        "ended": "This recording has ended.",
        "changed": "The microphone was changed: start again.",
        "time_up": "The time is up.",
    },
    RUSSIAN: {
        "title": "Эмоции в речи",
        "about": "Выберите запись или говорите: модель назовёт эмоцию, которую услышал бы "
        "слушатель.",
        "limits": "Модель предсказывает, что в такой речи, скорее всего, услышали бы участники "
        "одной разметки. Это не то, что человек чувствует, и решать по этому что-либо о человеке "
        "нельзя. Записи не покидают компьютер, на котором работает эта страница, и удаляются "
        "примерно через час. Модель: {model}.",
        "recording": "Запись",
        "live": "Микрофон",
        "choose": "Запись, до {megabytes} МБ и {minutes} мин",
        "speech_only": "Только речь: без тишины и шума",
        "examples": "Примеры",
        "synthetic": "Примеры, синтезированный голос",
        "all_in_turn": "все по очереди",
        "heard": "Что было слышно",
        "empty": "Пока показывать нечего: выберите запись или пример либо говорите.",
        "no_speech": "В этой записи речь не найдена.",
        "too_long": "Эта запись длиннее {minutes} мин, а больше здесь нельзя; обрежьте её или "
        "обработайте командой dusha predict.",
        "unreadable": "Эту запись не удалось прочитать; выберите аудиофайл, например WAV, MP3 или "
        "M4A.",
        "failed": "Эту запись не удалось обработать; попробуйте другую.",
        "whole": "Вся запись ({duration})",
        "shares": "Доля времени ({duration})",
        "shares_of_speech": "Доля времени с речью: {speech} из {duration}",
        "emotion": "эмоция",
        "share": "доля времени",
        "probability": "средняя вероятность",
        "no_prediction": "нет ответа",
        "waveform": "Громкость записи в децибелах, {duration}. Доля времени: {shares}.",
        "silence": "речи нет",
        "click": "Щёлкните по графику, чтобы слушать с этого места.",
        "csv": "Скачать CSV",
        "windows": "Таблица по окнам ({number})",
        "window": "окно",
        "span": "{start}–{end} с",
        "speak": "Пока показывать нечего: нажмите «Начать» и говорите.",
        "limit_live": "До {minutes} мин за один раз.",
        "listening": "Идёт запись. Первый ответ появится через три секунды.",
        "now": "Сейчас: последние три секунды",
        "nothing": "Ничего не было слышно.",
        "taken": "Все места у микрофона ({speakers}) заняты; попробуйте позже.",
        "ended": "Эта запись закончена.",
        "changed": "Микрофон сменился: начните сначала.",
        "time_up": "Время вышло.",
    },
}
# What the browser says by itself.
MICROPHONE = {
    ENGLISH: {
        "start": "Start",
        "stop": "Stop",
        "listening": "Listening.",
        "insecure": "Browsers give the microphone only to https:// pages and to 127.0.0.1.",
        "refused": "The microphone cannot be used: ",
        "late": "The server does not answer: try again later.",
    },
    RUSSIAN: {
        "start": "Начать",
        "stop": "Остановить",
        "listening": "Идёт запись.",
        "insecure": "Браузер даёт микрофон только страницам с https:// и адресу 127.0.0.1.",
        "refused": "Не удалось включить микрофон: ",
        "late": "Сервер не отвечает: попробуйте позже.",
    },
}


class Words:
    """The texts of one language.

    Examples:
        >>> words = Words("ru-RU,ru;q=0.9,en;q=0.8")
        >>> words("live"), words.name("sad"), words.percent(0.125)
        ('Микрофон', 'грусть', '12,5\\xa0%')
        >>> Words("de")("live")
        'Live'
    """

    def __init__(self, accepted: str = ""):
        """Take the language that a browser asks for first, if it is Russian, else English."""
        self.language = RUSSIAN if accepted.strip().lower().startswith(RUSSIAN) else ENGLISH

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with values in their places."""
        return TEXTS[self.language][key].format(**values)

    def name(self, label: str) -> str:
        """Return the name of a label; of one that is not known, the label."""
        return RUSSIAN_NAMES.get(label, label) if self.language == RUSSIAN else label

    def number(self, value: float, digits: int = 1) -> str:
        """Return a number with so many digits after the point, or comma."""
        text = f"{value:.{digits}f}"
        return text.replace(".", ",") if self.language == RUSSIAN else text

    def percent(self, fraction: float, digits: int = 1) -> str:
        """Return a fraction from 0 to 1 as a percentage."""
        text = self.number(100 * fraction, digits)
        return f"{text}\N{NO-BREAK SPACE}%" if self.language == RUSSIAN else f"{text}%"
