"""The model that training starts from: random weights, a folder, or a name on the Hub."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from configuration_dusha import DushaConfig
from dusha_ser.errors import WrongUseError
from dusha_ser.inference.loading import explained_errors
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification


def network_type(name: str | None, trust_remote_code: bool = False) -> str:
    """Tell the type of the network that training starts from, before anything else is loaded.

    Args:
        name: as for `load_starting_model`.
        trust_remote_code: as for `load_starting_model`.

    Returns:
        model_type of its configuration.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it has no configuration that Transformers knows.

    Example:
        >>> network_type(None)
        'dusha'
    """
    if name is None:
        return DushaConfig.model_type
    with explained_errors(name):
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code).model_type


def load_starting_model(
    name: str | None,
    labels: list[str],
    published_quirks: bool = False,
    multi_label: bool = False,
    trust_remote_code: bool = False,
    trim_silence: float | None = None,
):
    """Load the model that training starts from, and its feature extractor.

    Args:
        name: a model folder or a name on the Hub; None: Dusha's network with random weights.
        labels: of the data, in the order of their numbers.
        published_quirks: whether padding is 0 dB and seen by the network, as published.
        multi_label: whether a clip may have several labels.
        trust_remote_code: whether code that came with the model may run.
        trim_silence: as for `load_extractor`.

    Returns:
        The model, whose labels are those of the data (a classifier that knows other ones is
        replaced; one that knows them in another order keeps its own), and the extractor.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is no audio classification model.
    """
    problem = "multi_label_classification" if multi_label else "single_label_classification"
    numbered = dict(enumerate(labels))
    if name is None:
        config = DushaConfig(
            id2label=numbered, problem_type=problem, use_attention_mask=not published_quirks
        )
        return DushaForAudioClassification(config), load_extractor(
            name, published_quirks, trust_remote_code, trim_silence
        )
    options = {"trust_remote_code": trust_remote_code}
    with explained_errors(name):
        config = AutoConfig.from_pretrained(name, **options)
        known = {int(number): label for number, label in config.id2label.items()}
        if set(known.values()) != set(labels):
            config.id2label = numbered
            config.label2id = {label: number for number, label in numbered.items()}
        config.problem_type = problem
        if config.model_type == DushaConfig.model_type:
            config.use_attention_mask = not published_quirks
        model = AutoModelForAudioClassification.from_pretrained(
            name, config=config, ignore_mismatched_sizes=True, **options
        )
    return model, load_extractor(name, published_quirks, trust_remote_code, trim_silence)


def freeze_blocks(model, count: int) -> None:
    """Leave the first layers of a network out of what learns.

    Args:
        model: of Dusha's network.
        count: blocks behind the first convolution, which is left out with them; 0: none.

    Raises:
        WrongUseError: if the network is another one, or has fewer blocks.
    """
    if not count:
        return
    if not isinstance(model, DushaForAudioClassification):
        raise WrongUseError(
            f"--frozen_blocks is for Dusha's network, and this one is {model.config.model_type}: "
            "leave it out"
        )
    blocks = model.dusha.blocks
    if count > len(blocks):
        raise WrongUseError(f"frozen_blocks is {count}: the network has {len(blocks)} blocks")
    for layer in (model.dusha.stem, *blocks[:count]):
        layer.requires_grad_(False)


def load_extractor(
    name: str | None,
    published_quirks: bool = False,
    trust_remote_code: bool = False,
    trim_silence: float | None = None,
):
    """Load the feature extractor of the model that training starts from.

    Args:
        name: as for `load_starting_model`.
        published_quirks: whether padding is 0 dB, as published.
        trust_remote_code: whether code that came with the model may run.
        trim_silence: of Dusha's own extractor, in dB; None: as the model's.

    Returns:
        The extractor.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it has no extractor, or one that cannot cut off silence.
    """
    quirks = {"padding_value": 0.0} if published_quirks else {}
    trim = {} if trim_silence is None else {"trim_silence": trim_silence}
    if name is None:
        return DushaFeatureExtractor(**quirks, **trim)
    with explained_errors(name):
        extractor = AutoFeatureExtractor.from_pretrained(
            name, trust_remote_code=trust_remote_code, **quirks, **trim
        )
    if trim and not isinstance(extractor, DushaFeatureExtractor):
        raise WrongUseError(
            f"--trim_silence is for Dusha's features, and {name} has its own "
            f"({type(extractor).__name__}): leave it out"
        )
    return extractor
