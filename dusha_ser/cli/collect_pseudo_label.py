"""Add a model's probabilities to clips, and pick those to annotate."""

from collections import Counter

from dusha_ser.cli.program import command, tell
from dusha_ser.collecting.options import PseudoLabelOptions
from dusha_ser.errors import WorkFailedError


@command(
    "dusha collect pseudo-label",
    "dusha collect pseudo-label clips --model runs/crowd_large --number 5000 --output_file "
    "clips/picked.csv",
    PseudoLabelOptions,
    resumes=True,
)
def main(options: PseudoLabelOptions) -> None:
    """Classify the clips that the command line names, and pick some."""
    from dusha_ser.collecting.picking import label_clips, write_picked

    rows = label_clips(options)
    chosen = write_picked(rows, options)
    counts = sorted(Counter(row["prediction"] for row in chosen).items())
    told = ", ".join(f"{count} {label}" for label, count in counts)
    picked = f"{len(chosen)} of {len(rows)} clips picked ({told}): {options.output_file}"
    tell(options.quiet, picked)
    if failed := sum(bool(row["error"]) for row in rows):
        raise WorkFailedError(
            f"{failed} of {len(rows)} clips failed; see the error column of "
            f"{options.predictions_file}"
        )
