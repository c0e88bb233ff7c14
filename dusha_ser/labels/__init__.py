"""From the answers of annotators to labels."""

from dusha_ser.labels.aggregation import aggregate, multi_labels, single_labels
from dusha_ser.labels.annotator_quality import krippendorff_alpha, rate_annotators
from dusha_ser.labels.crowd_answers import CrowdAnswers, Posteriors
from dusha_ser.labels.dawid_skene import DawidSkene, dawid_skene
from dusha_ser.labels.regularised import regularised_dawid_skene

__all__ = [
    "CrowdAnswers",
    "DawidSkene",
    "Posteriors",
    "aggregate",
    "dawid_skene",
    "krippendorff_alpha",
    "multi_labels",
    "rate_annotators",
    "regularised_dawid_skene",
    "single_labels",
]
