"""Other corpora as they are distributed: names, folders and junk are theirs, the sound is not."""

import io
import itertools

import numpy as np
import soundfile

EMOTIONS_AND_JUNK = ("ang", "hap", "exc", "sad", "neu", "xxx", "fru", "sur", "fea", "dis", "oth")


def tone(pitch=200.0, duration=0.02, sampling_rate=16_000):
    """Bytes of a WAV file with one tone of a pitch in Hz, lasting some seconds."""
    file = io.BytesIO()
    time = np.arange(int(duration * sampling_rate)) / sampling_rate
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * pitch * time), sampling_rate, format="WAV")
    return file.getvalue()


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_iemocap(folder, counts, audio=lambda speaker, emotion: TINY):
    """Write IEMOCAP_full_release with so many turns of each emotion's code, in five sessions.

    The release's junk is in every session: companions of macOS, what single annotators said (in
    folders of their own and between the turns), turns without a majority, other emotions.
    """
    turns = list(itertools.chain.from_iterable([code] * count for code, count in counts.items()))
    for session in range(1, 6):
        root = folder / f"Session{session}"
        evaluation = root / "dialog" / "EmoEvaluation"
        dialogs = {
            f"Ses0{session}F_impro01": [],
            f"Ses0{session}M_script02_1b": [],
        }
        for i, code in enumerate([*turns[session - 1 :: 5], "xxx", "fru", "sur", "oth"]):
            dialog = list(dialogs)[i % 2]
            # Whoever wears the markers (the letter after the session), both speak.
            gender = "FM"[i // 2 % 2]
            name = f"{dialog}_{gender}{i:03d}"
            dialogs[dialog].append(
                f"[{i}.2901 - {i + 1}.2357]\t{name}\t{code}\t[2.5000, 2.5000, 2.5000]\n"
                "C-E2:\tNeutral;\t()\nC-E3:\tAnger; Sadness;\t(caf\xe9)\nC-F1:\tHappiness;\t()\n"
                "A-E3:\tval 3; act 2; dom  2;\t()\nA-F1:\tval 2; act 3; dom  2;\t()\n\n"
            )
            sound = audio(f"Ses0{session}{gender}", code)
            write(root / "sentences" / "wav" / dialog / f"{name}.wav", sound)
            write(root / "sentences" / "MOCAP_head" / dialog / f"{name}.txt")
        for dialog, lines in dialogs.items():
            head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            text = (head + "".join(lines)).encode("latin-1")
            write(evaluation / f"{dialog}.txt", text)
            write(evaluation / f"._{dialog}.txt", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
            # In another form than the real ones; were these read, all turns would count twice.
            write(evaluation / "Categorical" / f"{dialog}_e2_cat.txt", text)
            write(evaluation / "Attribute" / f"{dialog}_e3_atr.txt", text)
            write(evaluation / "Self-evaluation" / f"{dialog}_f1_cat.anvil", b"<annotation/>")
            write(root / "sentences" / "wav" / dialog / f"._{dialog}_F000.wav", b"\x00\x05\x16\x07")
            write(root / "dialog" / "wav" / f"{dialog}.wav", TINY)
            write(root / "dialog" / "transcriptions" / f"{dialog}.txt", b"Excuse me.\n")
    write(folder / "Documentation" / "timeinfo.txt")
    write(folder / "README.txt", b"IEMOCAP")


def write_ravdess(folder):
    """Write Audio_Speech_Actors_01-24 with songs and films beside it, and once more inside."""
    for actor in range(1, 25):
        for emotion in range(1, 9):
            for intensity in (1,) if emotion == 1 else (1, 2):
                for statement, repetition in itertools.product((1, 2), (1, 2)):
                    tail = f"{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}"
                    name = f"{tail}-{actor:02d}"
                    place = f"Actor_{actor:02d}"
                    write(folder / place / f"03-01-{name}.wav", TINY)
                    if emotion <= 6 and statement == repetition == 1:
                        write(folder / "Audio_Song" / place / f"03-02-{name}.wav", TINY)
                        write(folder / "Video" / place / f"01-01-{name}.mp4", TINY)
                    if actor <= 2:
                        copy = folder / "audio_speech_actors_01-24"
                        write(copy / place / f"03-01-{name}.wav", TINY)
    write(folder / "Actor_01" / "._03-01-05-01-01-01-01.wav", b"\x00\x05\x16\x07")
    write(folder / ".DS_Store")


def write_emodb(folder):
    """Write the wavs, and the folders with labels that lie beside them."""
    counts = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    texts = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
    for letter, count in counts.items():
        versions = itertools.product("abcdef", texts, speakers)
        for version, text, speaker in itertools.islice(versions, count):
            name = f"{speaker}{text}{letter}{version}"
            write(folder / "wav" / f"{name}.wav", TINY)
            write(folder / "lablaut" / f"{name}.lablaut", b"signal")
            write(folder / "silb" / f"{name}.silb", b"signal")
    write(folder / "erkennung.txt", b"Satz erkannt\n")


def write_crema_d(folder):
    """Write AudioWAV of 91 actors, MP3 copies and tables beside it."""
    sentences = ["IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"]
    for code in ("ANG", "DIS", "FEA", "HAP", "SAD", "NEU"):
        actors = itertools.product(sentences, ("XX", "HI"), range(1001, 1092))
        for sentence, level, actor in itertools.islice(actors, 1087 if code == "NEU" else 1271):
            name = f"{actor}_{sentence}_{code}_{level}"
            # One published name ends so.
            name = name.replace("1040_ITH_SAD_XX", "1040_ITH_SAD_X")
            write(folder / "AudioWAV" / f"{name}.wav", TINY)
    write(folder / "AudioMP3" / "1001_IEO_ANG_HI.mp3")
    write(folder / "VideoDemographics.csv", b"ActorID,Age\n1001,51\n")


def write_savee(folder, flat=False):
    """Write AudioData with a folder a speaker, or all names in one folder."""
    for speaker in ("DC", "JE", "JK", "KL"):
        for code in ("a", "d", "f", "h", "n", "sa", "su"):
            for sentence in range(1, 31 if code == "n" else 16):
                name = f"{code}{sentence:02d}.wav"
                place = folder / f"{speaker}_{name}" if flat else folder / speaker / name
                write(place, TINY)
    write(folder / "Info.txt", b"'DC', 'JE', 'JK' and 'KL' are four male speakers\n")


def write_tess(folder):
    """Write the folders of two actresses, a wrongly named file among them, and all once more."""
    data = folder / "TESS Toronto emotional speech set data"
    words = ["bite", *("".join(letters) for letters in itertools.product("abcdef", repeat=3))][:200]
    for speaker, code in itertools.product(
        ("OAF", "YAF"), ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    ):
        for word in words:
            name = f"{speaker}_{word}_{code}.wav".replace("OAF_bite_neutral", "OA_bite_neutral")
            write(data / f"{speaker}_{code}" / name, TINY)
            if code == "sad":
                write(data / data.name / f"{speaker}_{code}" / name, TINY)


TINY = tone()
