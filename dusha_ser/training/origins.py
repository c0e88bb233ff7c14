"""Where a model comes from, its data and the weights that it started from, and what follows."""

from dataclasses import dataclass, field
from pathlib import Path

import datasets
import yaml
from huggingface_hub import RepoCard
from huggingface_hub.repocard import metadata_load

from dusha_ser.corpus.configurations import CONFIGURATIONS, LICENSE_FIELDS
from dusha_ser.corpus.published import published_domains
from dusha_ser.training.options import SAMPLE, DataOptions, RecipeOptions
from dusha_ser.training.teacher_options import is_probability_file

CODE_LICENSE = {"license": "apache-2.0"}


@dataclass(frozen=True)
class Origin:
    """Data or weights that a model was made from.

    Attributes:
        what: it is, in words.
        license: the fields of a card that name its licence; None: not known; empty: it has no terms
            of its own.
        languages: of its speech, as in a card; empty: not known.
        datasets: names on the Hub.
    """

    what: str
    license: dict[str, str] | None = None
    languages: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)

    @property
    def terms(self) -> str:
        """Its licence in words."""
        if self.license is None:
            return "no licence is known"
        return license_name(self.license) or "no terms of its own"


@dataclass(frozen=True)
class Origins:
    """What a model was made from.

    Attributes:
        data: that it learnt from.
        base: the weights that it started from; None: random ones.
        teachers: models whose probabilities it learnt.
    """

    data: Origin
    base: Origin | None
    teachers: tuple[Origin, ...] = ()

    @property
    def license(self) -> dict[str, str] | None:
        """The licence that all have, as fields of a card; None: one is not known, or they differ.

        What has no terms of its own takes those of the others, or else those of the code.
        """
        licenses = [origin.license for origin in self._all]
        if None in licenses:
            return None
        different = {license_name(one): one for one in licenses if one}
        return None if len(different) > 1 else next(iter(different.values()), CODE_LICENSE)

    def describe_license(self) -> str:
        """Return what a card says of the licence: those of all origins, and what follows."""
        lines = [f"- {origin.what}: {origin.terms}." for origin in self._all]
        if self.license:
            follows = f"The weights are under {license_name(self.license)}."
        elif any(origin.license is None for origin in self._all):
            follows = (
                "The licence of the weights is therefore not stated. Those who publish them choose "
                "one that the rights in all of these allow, and name it in the header (`license`)."
            )
        else:
            follows = (
                "These differ, so the licence of the weights is not stated. Those who publish them "
                "settle which terms hold, and name them in the header (`license`)."
            )
        return "\n".join([*lines, "", f"{follows} The code is under Apache 2.0."])

    @property
    def _all(self) -> list[Origin]:
        return [origin for origin in (self.data, self.base, *self.teachers) if origin]


def data_origin(
    data: DataOptions, splits: dict[str, datasets.Dataset], given: bool = False
) -> Origin:
    """Find out what the clips of a run are.

    Args:
        data: the options by which they were read.
        splits: the clips: train and, where there are any, validation and test.
        given: whether they came from the caller instead, and `data` has their name at most.
    """
    if is_dusha(splits):
        return Origin("Dusha (Kondratenko et al. 2022, arXiv 2212.12266)", LICENSE_FIELDS, ["ru"])
    if data.train_file:
        return Origin(f"own recordings ({data.shown_name})")
    if given:
        return Origin(f"{data.shown_name}, whose clips were given")
    if data.dataset == SAMPLE:
        return Origin("a synthetic corpus for trying things out", {})
    if data.dataset in CONFIGURATIONS:
        return Origin("archives in Dusha's form whose clips are not those of Dusha as published")
    card = read_card(data.dataset, "dataset")
    return Origin(
        f"the data set {data.shown_name}",
        license_fields(card),
        texts(card.get("language")),
        [] if Path(data.dataset).exists() else [data.dataset],
    )


def base_origin(recipe: RecipeOptions) -> Origin | None:
    """Find out what training starts from; None: random weights."""
    name = recipe.start
    if name is None:
        return None
    # A folder of somebody's disk is not named.
    what = "a model on disk" if Path(name).exists() else f"the model {name}"
    return Origin(what, license_fields(read_card(name, "model")))


def teacher_origins(recipe: RecipeOptions) -> tuple[Origin, ...]:
    """Find out whose probabilities a run learns; files of probabilities do not say whose."""
    models = [name for name in recipe.teacher if not is_probability_file(name)]
    return tuple(
        Origin(
            "a teacher on disk" if Path(name).exists() else f"the teacher {name}",
            license_fields(read_card(name, "model")),
        )
        for name in (models if recipe.is_taught else [])
    )


def is_dusha(splits: dict[str, datasets.Dataset]) -> bool:
    """Return whether clips are those of Dusha, of its training or test part."""
    parts: dict[str, list[datasets.Dataset]] = {"train": [], "test": []}
    for split, rows in splits.items():
        if {"domain", "duration"} <= set(rows.column_names):
            parts["test" if split == "test" else "train"].append(rows)
    return any(
        published_domains(
            [domain for rows in found for domain in rows["domain"]],
            [seconds for rows in found for seconds in rows["duration"]],
            split,
        )
        for split, found in parts.items()
    )


def read_card(name: str, repo_type: str) -> dict:
    """Read the metadata of a card: of a folder, or of a repository on the Hub; empty: none.

    Args:
        name: of the folder, or of the repository.
        repo_type: "model" or "dataset".
    """
    readme = Path(name) / "README.md"
    try:
        if Path(name).exists():
            return (metadata_load(readme) if readme.is_file() else None) or {}
        return RepoCard.load(name, repo_type=repo_type, ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, yaml.YAMLError):
        # No card, no network or a damaged card: what it would say is not known.
        return {}


def license_fields(card: dict) -> dict[str, str] | None:
    """Return the fields of a card that name one licence; None: it names none, or several."""
    names = texts(card.get("license"))
    if len(names) != 1 or names[0] == "unknown":
        return None
    fields = {name: card[name] for name in ("license_name", "license_link") if card.get(name)}
    return {"license": names[0]} | {name: str(value) for name, value in fields.items()}


def license_name(fields: dict[str, str]) -> str:
    """Return the name of a licence, with its address if that is known; "": no terms."""
    name = fields.get("license_name") or fields.get("license", "")
    link = fields.get("license_link")
    return f"{name} ({link})" if link else name


def texts(value: object) -> list[str]:
    """Return a field of a card, one text or a list of them, as a list."""
    return list(map(str, value if isinstance(value, list) else [value] if value else []))
