"""Published results, to stand beside ours."""

from dataclasses import dataclass

from dusha_ser.evaluation.ser.ser import SCORES


@dataclass(frozen=True)
class PublishedResult:
    """A row of a published table, under our names.

    Attributes:
        test_set: what it was measured on: crowd, podcast or iemocap.
        model: its name, and how it was trained where that matters.
        accuracy: the paper calls it UA, most of the field WA.
        balanced_accuracy: the paper calls it WA, most of the field UA.
        f1_macro: macro F1.
        source: where it was published.
        deviation: standard deviation of each score; None where none was published.
    """

    test_set: str
    model: str
    accuracy: float
    balanced_accuracy: float
    f1_macro: float
    source: str
    deviation: float | None = None

    def cells(self) -> dict[str, str]:
        """Return the scores as they were published, by name.

        Examples:
            >>> result = PublishedResult("iemocap", "a model", 0.59, 0.58, 0.57, "a paper", 0.01)
            >>> result.cells()["accuracy"]
            '0.59 ± 0.01'
        """
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return {name: f"{getattr(self, name):.2f}{spread}" for name in SCORES}


PAPER_MODEL = "MobileNetV2 + attention (the paper)"
PAPER = "Kondratenko et al. 2022, arXiv 2212.12266"
GIGAAM = "github.com/salute-developers/GigaAM, evaluation.md"
# The deviation is over the five sessions of IEMOCAP.
PUBLISHED = (
    PublishedResult("crowd", PAPER_MODEL, 0.83, 0.76, 0.77, PAPER),
    PublishedResult("podcast", PAPER_MODEL, 0.89, 0.53, 0.54, PAPER),
    PublishedResult("iemocap", PAPER_MODEL, 0.59, 0.59, 0.59, PAPER, deviation=0.01),
    PublishedResult("crowd", "GigaAM-Emo", 0.90, 0.87, 0.84, GIGAAM),
    PublishedResult("podcast", "GigaAM-Emo", 0.90, 0.76, 0.67, GIGAAM),
    PublishedResult("crowd", "TIM-Net", 0.84, 0.77, 0.78, GIGAAM),
    PublishedResult("podcast", "TIM-Net", 0.90, 0.50, 0.55, GIGAAM),
)
# Clips of the published test sets (paper, Table 2) and of the four emotions of IEMOCAP.
PUBLISHED_CLIPS = {"crowd": 14035, "podcast": 10637, "iemocap": 5531}
