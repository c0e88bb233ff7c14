"""The Dusha corpus of Russian emotional speech and its model, from raw answers to predictions."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dusha_ser.inference.emotion_classifier import Emotion, EmotionClassifier, EmotionStream

__version__ = "0.2.0"
__all__ = ["Emotion", "EmotionClassifier", "EmotionStream", "__version__"]


def __getattr__(name: str) -> Any:
    # Only when they are asked for: PyTorch takes seconds to import.
    if name in __all__:
        from dusha_ser.inference import emotion_classifier

        return getattr(emotion_classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
