"""Add a model's probabilities to clips, and pick those to annotate."""

from collections import Counter
from collections.abc import Sequence

from dusha_ser.cli.program import Parser, hide_bars, on_interrupt, tell
from dusha_ser.collecting.options import PseudoLabelOptions
from dusha_ser.errors import WorkFailedError


def make_parser() -> Parser:
    """Make the parser of `dusha collect pseudo-label`."""
    return Parser(
        "dusha collect pseudo-label",
        __doc__,
        "dusha collect pseudo-label clips --model runs/crowd_large --number 5000 --output_file "
        "clips/picked.csv",
        PseudoLabelOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Classify the clips that the command line names, and pick some."""
    (options,) = make_parser().parse_options(arguments)
    hide_bars(options.quiet)
    on_interrupt("the same command resumes")
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
