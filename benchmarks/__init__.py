"""Side-by-side measurements: each module is a program for one claim."""
