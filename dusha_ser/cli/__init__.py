"""The command `dusha`: one module for each of its subcommands."""
