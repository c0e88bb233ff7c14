"""What a GPU computes is what the processor does; skipped where there is none.

Other tests let the processor and the device "meta" stand for a GPU. These need one.
"""

import csv

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks.clips import wav_files
from benchmarks.demo_load import save_random_model
from benchmarks.gpu import single_precision
from configuration_dusha import DushaConfig
from dusha_ser.inference.device_features import DeviceFeatures
from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.augmentation import SILENCE, Augmentation
from dusha_ser.training.batch_lengths import choose_lengths
from dusha_ser.training.batches import ClipDataset, SpectrogramCollator
from dusha_ser.training.held_features import hold
from dusha_ser.training.losses import Mixup
from dusha_ser.training.sampling import EveryClipSampler
from dusha_ser.training.trainer import DushaTrainer
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

CPU = torch.device("cpu")
FRAMES = np.array([120, 300, 77, 410, 260, 33, 190, 355, 230, 145, 90, 280])


@pytest.fixture(scope="module")
def gpu():
    """The GPU, in single precision: without TF32."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU of CUDA is here")
    with single_precision():
        yield torch.device("cuda")


@pytest.fixture(scope="module")
def rows():
    """Clips of noise as features, in whole sixteenths of a decibel."""
    rng = np.random.default_rng(0)
    clips = [-rng.integers(0, 80 * 16, (count, 64)).astype(np.float32) / 16 for count in FRAMES]
    column = datasets.Array2D((None, 64), "float32")
    return datasets.Dataset.from_dict(
        {"input_features": clips}, features=datasets.Features({"input_features": column})
    )


def clips_on(rows, device):
    held = hold(rows, "input_features", FRAMES, SILENCE, device, torch.float32)
    return ClipDataset(rows, "input_features", np.arange(len(rows)) % 4, held=held)


def batches(clips, collate):
    sampler = EveryClipSampler(FRAMES / 100, batch_size=5, seed=1)
    return list(DataLoader(clips, batch_sampler=sampler, collate_fn=collate))


@pytest.mark.parametrize(
    "collate",
    [
        SpectrogramCollator(augmentation=Augmentation()),
        SpectrogramCollator(augmentation=Augmentation(), lengths=(200, 300, 420)),
        SpectrogramCollator(augmentation=Augmentation(stretch=0.2), equal_lengths=True),
        SpectrogramCollator(augmentation=Augmentation(), mixup=Mixup(0.4, 4)),
    ],
    ids=["augmented", "few lengths", "stretched", "mixed"],
)
def test_batches_made_on_a_gpu_are_those_of_the_processor_to_the_last_bit(gpu, rows, collate):
    made = batches(clips_on(rows, gpu), collate), batches(clips_on(rows, CPU), collate)
    for found, expected in zip(*made, strict=True):
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert values.device.type == gpu.type
            assert torch.equal(values.cpu(), expected[name]), name


def test_features_and_logits_on_a_gpu_are_those_of_the_processor(gpu):
    rng = np.random.default_rng(0)
    clips = [rng.uniform(-0.5, 0.5, size).astype(np.float32) for size in (700, 16000, 52800, 9001)]
    extractor = DushaFeatureExtractor()
    expected = extractor(clips, 16000, padding=True, return_tensors="pt")
    found = DeviceFeatures(extractor, gpu)(clips)
    assert torch.equal(found["attention_mask"].cpu(), expected["attention_mask"])
    torch.testing.assert_close(
        found["input_features"].cpu(), expected["input_features"], atol=0.01, rtol=0
    )
    torch.manual_seed(0)
    model = DushaForAudioClassification(DushaConfig()).eval()
    with torch.no_grad():
        of_processor = model(**expected).logits
        of_gpu = model.to(gpu)(**found.to(gpu)).logits.cpu()
    torch.testing.assert_close(of_gpu, of_processor, atol=2e-3, rtol=0)


def trainer_on(device, rows, folder, **options):
    torch.manual_seed(0)
    arguments = DushaTrainingArguments(
        str(folder),
        **{
            "num_train_epochs": 2,
            "per_device_train_batch_size": 5,
            "per_device_eval_batch_size": 4,
            "use_cpu": device.type == "cpu",
            "bf16": False,
            "tf32": False if device.type == "cuda" else None,
            "torch_compile": False,
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "save_strategy": "no",
            "load_best_model_at_end": False,
        }
        | options,
    )
    clips = clips_on(rows, device)
    return DushaTrainer(
        model=DushaForAudioClassification(DushaConfig()),
        args=arguments,
        train_dataset=clips,
        eval_dataset=clips,
        train_sampler=EveryClipSampler(FRAMES / 100, batch_size=5, seed=0),
        train_collator=SpectrogramCollator(
            augmentation=Augmentation(), lengths=choose_lengths(FRAMES)
        ),
        data_collator=SpectrogramCollator(),
    )


def gradients(device, rows, folder, kind=torch.float32):
    """Those of the first batch, one after the other, in double precision."""
    trainer = trainer_on(device, rows, folder)
    trainer.model.to(kind)
    batch = next(iter(trainer.get_train_dataloader()))
    batch = {
        name: values.to(kind) if values.is_floating_point() else values
        for name, values in batch.items()
    }
    trainer.training_step(trainer.model, dict(batch), trainer.step_weight([batch]))
    found = [one.grad for one in trainer.model.parameters() if one.grad is not None]
    return torch.cat([one.flatten().double().cpu() for one in found])


def test_gradients_on_a_gpu_are_as_exact_as_those_of_the_processor(gpu, rows, tmp_path):
    """Padded clips, so masked batch normalisation and attention take part."""
    exact = gradients(CPU, rows, tmp_path / "exact", torch.float64)
    apart = {
        device.type: (gradients(device, rows, tmp_path / device.type) - exact).norm()
        for device in (gpu, CPU)
    }
    assert 0 < apart["cpu"] < 0.01 * exact.norm()
    assert apart["cuda"] < 5 * apart["cpu"]


def test_training_step_on_a_gpu_waits_for_nothing(gpu, rows, tmp_path):
    trainer = trainer_on(gpu, rows, tmp_path, bf16=None, max_grad_norm=1.0)
    trainer.checks_each_step = False
    optimizer = trainer.create_optimizer()
    model = trainer.accelerator.prepare_model(trainer.model)
    loader = iter(trainer.get_train_dataloader())
    # What is made once: plans of kernels, the state of the optimizer.
    for number in range(2):
        collected, weight = trainer.get_batch_samples(loader, 1, gpu)
        torch.cuda.set_sync_debug_mode("error" if number else "default")
        try:
            loss = trainer.training_step(model, collected[0], weight)
            optimizer.step()
            optimizer.zero_grad()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


def test_training_on_a_gpu_as_it_is_by_default_learns_and_compiles_once(gpu, rows, tmp_path):
    """In bfloat16, compiled; losses are near those of the processor."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    losses = {}
    as_usual = dict.fromkeys(("bf16", "tf32", "torch_compile"))
    for device, options in ((gpu, as_usual), (CPU, {})):
        trainer = trainer_on(device, rows, tmp_path / device.type, num_train_epochs=4, **options)
        trainer.train()
        losses[device] = [one["loss"] for one in trainer.state.log_history if "loss" in one]
    # PyTorch refuses to answer where TF32 was set in one of its two ways only.
    assert torch.get_float32_matmul_precision() == "high"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    np.testing.assert_allclose(losses[gpu][0], losses[CPU][0], atol=0.1)
    assert losses[gpu][-1] < losses[gpu][0]


@pytest.mark.parametrize("options", [[], ["--num_proc", "2"]], ids=["alone", "two readers"])
def test_files_and_timelines_on_a_gpu_are_those_of_the_processor(
    gpu, shell, repository, tmp_path, options
):
    model = save_random_model(tmp_path / "model")
    (tmp_path / "wavs").mkdir()
    wav_files(tmp_path / "wavs", None, 12)
    tables = []
    for device in ("cuda", "cpu"):
        for kind, more in (
            ("clips", []),
            ("windows", ["--timeline", "--window", "2", "--hop", "0.5"]),
        ):
            table = tmp_path / f"{kind}_{device}.csv"
            words = ["predict", model, tmp_path / "wavs", "--output_file", table, *more]
            words += ["--device", device, *(options if device == "cuda" else [])]
            shell("-m", "dusha_ser", *words, cwd=repository)
            with table.open(encoding="utf-8", newline="") as file:
                tables.append(list(csv.DictReader(file)))
    for found, expected in zip(tables[:2], tables[2:], strict=True):
        assert len(found) == len(expected) >= 12
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            for name, value in other.items():
                if name.startswith(("probability", "confidence")):
                    assert float(one[name]) == pytest.approx(float(value), abs=2e-3)
