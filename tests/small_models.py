"""Small random models and rows for tests of the programs around the model."""

import os

import datasets
import fake_corpora
import numpy as np
import pyarrow as pa
import torch
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from configuration_dusha import DushaConfig
from dusha_ser.evaluation.ser.ser import LABELS
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

# Rows of a corpus that was prepared with features and without audio.
FEATURE_ROWS = datasets.Features(
    {
        "id": datasets.Value("string"),
        "label": datasets.ClassLabel(names=list(LABELS)),
        "duration": datasets.Value("float64"),
        "source_id": datasets.Value("string"),
        "input_features": datasets.Array2D((None, 64), "float32"),
    }
)
PITCHES = {"angry": 420.0, "sad": 150.0, "neutral": 220.0, "positive": 320.0}


def save_model(folder, seed=0, labels=LABELS):
    """Save a random model of the published kind, whose answers differ from clip to clip."""
    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = DushaConfig(id2label=names, label2id={name: i for i, name in names.items()})
    model = DushaForAudioClassification(config)
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    model.save_pretrained(folder)
    DushaFeatureExtractor().save_pretrained(folder)
    return str(folder)


def save_lively_model(folder, clips):
    """Save a random model whose probabilities spread over such clips, each (samples,) at 16 kHz.

    With the statistics that a new network has, all that a clip adds to its logits is lost beside
    their biases: so those of batch normalisation are the clips', and logits are centred.
    """
    model = DushaForAudioClassification.from_pretrained(save_model(folder))
    batch = DushaFeatureExtractor()(clips, 16000, return_tensors="pt")
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        model.train()(**batch)
        logits = model.eval()(**batch).logits
        gain = 1.5 / logits.std(0)
        model.classifier.weight.mul_(gain.unsqueeze(1))
        model.classifier.bias.sub_(logits.mean(0)).mul_(gain)
    model.save_pretrained(folder)
    return str(folder)


SMALL_ENCODER = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
ON_WAVEFORMS = SMALL_ENCODER | {
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (80, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
}
ON_SPECTROGRAMS = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 8,
    "max_source_positions": 100,
}


def save_encoder(folder, kind, seed=0):
    """Save a tiny random encoder without a classifier, "whisper" (of 2 s) or on waveforms."""
    torch.manual_seed(seed)
    is_whisper = kind == "whisper"
    config = AutoConfig.for_model(kind, **(ON_SPECTROGRAMS if is_whisper else ON_WAVEFORMS))
    model = AutoModelForAudioClassification.from_config(config)
    head = ("projector", "classifier", "layer_weights")
    state = {name: one for name, one in model.state_dict().items() if not name.startswith(head)}
    for name, values in state.items():
        # With the weights that a new network has, all clips would be alike.
        if values.ndim == 2 and "embed_positions" not in name:
            state[name] = values * 20
    model.save_pretrained(folder, state_dict=state)
    extractor = (
        WhisperFeatureExtractor(feature_size=8, chunk_length=2)
        if is_whisper
        else Wav2Vec2FeatureExtractor(return_attention_mask=True)
    )
    extractor.save_pretrained(folder)
    return str(folder)


def save_text_classifier(folder, labels, words=("фраза",)):
    """Save a tiny random text classifier that knows a few words."""
    folder.mkdir(exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    names = dict(enumerate(labels))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def write_recordings(folder, speakers=4, of_each=1, duration=0.12):
    """Write tones whose pitch tells the emotion as clips.csv and wavs; returns the table's path."""
    lines = ["path,label,speaker"]
    for speaker in range(speakers):
        for label, pitch in PITCHES.items():
            for number in range(of_each):
                name = f"wavs/{speaker}_{label}_{number}.wav"
                sound = fake_corpora.tone(pitch * (1 + 0.02 * speaker + 0.01 * number), duration)
                fake_corpora.write(folder / name, sound)
                lines.append(f"{name},{label},speaker {speaker}")
    fake_corpora.write(folder / "clips.csv", ("\n".join(lines) + "\n").encode())
    return folder / "clips.csv"


def replace_audio(path):
    """Put other audio of the same size and time under the name of a recording."""
    state, content = path.stat(), bytearray(path.read_bytes())
    # The samples stand behind a header of 44 bytes.
    content[44:] = np.random.default_rng(0).bytes(len(content) - 44)
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def rows_of(clips_each, speakers, seed):
    """Clips of four emotions, as many of each by every speaker, each louder in bands of its own."""
    generator = np.random.default_rng(seed)
    columns = {name: [] for name in FEATURE_ROWS}
    for speaker in range(speakers):
        for number in range(4 * clips_each):
            clip = generator.normal(-60, 6, (24, 64))
            clip[:, 16 * (number % 4) : 16 * (number % 4 + 1)] += 30
            columns["id"].append(f"{seed}_{speaker}_{number}")
            columns["label"].append(number % 4)
            columns["duration"].append(0.24)
            columns["source_id"].append(f"{seed} {speaker}")
            columns["input_features"].append(clip.clip(-80, 0).astype("float32"))
    return datasets.Dataset.from_dict(columns, features=FEATURE_ROWS)


def write_corpus(folder, configuration="crowd", clips=12, audio=True, features=False):
    """Write a prepared corpus: Parquet files and the card that names them."""
    generator = np.random.default_rng(0)
    columns = {
        "id": [f"{configuration}{i}" for i in range(clips)],
        "audio": [
            {"bytes": fake_corpora.tone(150 + 20 * i, 0.12), "path": None} if audio else None
            for i in range(clips)
        ],
        "duration": [0.12] * clips,
        "label": [i % 3 for i in range(clips)],
        "source_id": [f"speaker {i % 4}" for i in range(clips)],
        "domain": [configuration] * clips,
    }
    kinds = {
        "id": datasets.Value("string"),
        "audio": datasets.Audio(sampling_rate=16000, decode=False),
        "duration": datasets.Value("float64"),
        "label": datasets.ClassLabel(names=list(LABELS)),
        "source_id": datasets.Value("string"),
        "domain": datasets.Value("string"),
    }
    if features:
        columns["input_features"] = [
            generator.uniform(-80, 0, (13 + i, 64)).astype(np.float32).tolist()
            for i in range(clips)
        ]
        kinds["input_features"] = datasets.List(datasets.List(datasets.Value("float32")))
    kinds = datasets.Features(kinds)
    rows = datasets.Dataset(
        pa.table(columns, schema=kinds.arrow_schema), info=datasets.DatasetInfo(features=kinds)
    )
    for split in ("train", "test"):
        path = folder / configuration / f"{split}-00000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(path)
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {configuration}\n  data_files:\n"
        f"  - split: train\n    path: {configuration}/train-*\n"
        f"  - split: test\n    path: {configuration}/test-*\n---\n"
    )
    return folder
