"""A process that trains, alone or with others: it notes its training batches and what it holds.

    python note_batches.py SPLIT MODEL FOLDER BATCH_SIZE

It trains the model of the folder MODEL on a saved split, and writes FOLDER/PROCESS.pt.
"""

import sys

import datasets
import torch

from dusha_ser.training.arguments import DushaTrainingArguments
from dusha_ser.training.batches import filling
from dusha_ser.training.options import DataOptions, RecipeOptions
from dusha_ser.training.preparation import prepare
from dusha_ser.training.run import make_trainer

EPOCHS = 2


def main(split: str, model: str, folder: str, batch_size: str) -> None:
    """Note the batches of some epochs, then train on them."""
    arguments = DushaTrainingArguments(
        f"{folder}/model",
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=int(batch_size),
        features_in="host",
        mixup=0.4,
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    recipe = RecipeOptions(model_name_or_path=model, stretch=0.1)
    rows = {"train": datasets.load_from_disk(split)}
    prepared = prepare(DataOptions(validation=0.2), recipe, arguments, rows)
    said = prepared.hold(arguments, filling(recipe))
    trainer = make_trainer(prepared, recipe, arguments)
    noted = []
    for epoch in range(EPOCHS):
        loader = trainer.get_train_dataloader()
        loader.set_epoch(epoch)
        noted.append(list(loader))
    trainer.train()
    found = {
        "batches": noted,
        "frames": {name: len(held.frames) - 1 for name, held in prepared.held.items()},
        "said": said,
        "weights": trainer.model.state_dict(),
    }
    torch.save(found, f"{folder}/{arguments.process_index}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
