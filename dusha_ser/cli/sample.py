"""Write the synthetic sample corpus as archives."""

import argparse

from dusha_ser.corpus.sample import DEFAULT_CLIPS, write_sample


def main() -> None:
    """Write a sample corpus into the folder that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: dusha sample sample && "
        "dusha corpus crowd --data_dir sample --output_dir dusha",
    )
    parser.add_argument("output_dir", metavar="OUT_DIR", help="folder to write the archives into")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices (default 0)")
    parser.add_argument(
        "--clips",
        type=int,
        default=DEFAULT_CLIPS,
        help=f"number of clips in all four parts together (default {DEFAULT_CLIPS})",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args()
    folder = write_sample(options.output_dir, options.seed, options.clips, options.quiet)
    print(f"{options.clips} clips written to {folder}")
