"""A prepared dataset folder on the Hub, by the push of the `datasets` library itself."""

import os
from pathlib import Path

import datasets
from huggingface_hub import DatasetCard, HfApi, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from dusha_ser.corpus.dataset_card import card_data, card_text, default_name, find_prepared
from dusha_ser.errors import WorkFailedError, WrongUseError, first_line


def check_login() -> None:
    """Raise a WrongUseError if nobody is logged in, before any work is done."""
    if not get_token():
        raise WrongUseError("nobody is logged in to the Hub: run `hf auth login`, or set HF_TOKEN")


def push_folder(
    output_dir: str | os.PathLike, names: list[str], repo_id: str, private: bool | None = None
) -> str:
    """Push configurations of a dataset folder; others that the Hub has stay.

    Shards are read and sent one by one, so the disk needs room for one of them only.

    Args:
        output_dir: the dataset folder.
        names: of its configurations.
        repo_id: USER/NAME of the dataset on the Hub; made if it is missing.
        private: whether a new one is private; None: the default of the user's account.

    Returns:
        The address of the dataset.

    Raises:
        WrongUseError: no dataset can have that name.
        WorkFailedError: the Hub refused or could not be reached.
    """
    folder = Path(output_dir)
    try:
        default = default_name([*names, *pushed_names(repo_id)])
        for name in names:
            datasets.load_dataset(str(folder), name, streaming=True).push_to_hub(
                repo_id,
                config_name=name,
                set_default=name == default,
                private=private,
                commit_message=f"Upload configuration {name}",
            )
        describe(repo_id, folder)
    except HFValidationError as error:
        raise WrongUseError(
            f"`push_to_hub` is {repo_id!r}, which cannot be a dataset's name ({error}): "
            "give USER/NAME"
        ) from error
    except (WrongUseError, WorkFailedError):
        raise
    except Exception as error:  # network errors have no common base class
        raise WorkFailedError(
            f"pushing to {repo_id} failed ({first_line(error)}): check token, name and network, "
            "and start again; what the Hub has is not sent again"
        ) from error
    return f"{HfApi().endpoint}/datasets/{repo_id}"


def pushed_names(repo_id: str) -> list[str]:
    """Name the configurations that a dataset on the Hub has; none where there is no dataset."""
    try:
        card = DatasetCard.load(repo_id)
    except LocalEntryNotFoundError:
        # The Hub was not reached, so what it has is unknown.
        raise
    except (RepositoryNotFoundError, EntryNotFoundError):
        return []
    return [one["config_name"] for one in card.data.get("configs") or []]


def describe(repo_id: str, folder: Path) -> None:
    """Complete the card of a dataset on the Hub: the library's push writes its own fields only.

    Configurations that are not pushed are not described.
    """
    card = DatasetCard.load(repo_id)
    pushed = [one["config_name"] for one in card.data.get("configs") or []]
    prepared = [one for one in find_prepared(folder) if one.name in pushed]
    for field, value in card_data(prepared).to_dict().items():
        if field not in ("configs", "dataset_info"):
            setattr(card.data, field, value)
    card.text = "\n" + card_text(prepared, repo_id)
    card.push_to_hub(repo_id, commit_message="Describe the dataset")
