"""`python -m dusha_ser` is the command `dusha`."""

from dusha_ser.cli.main import run

if __name__ == "__main__":
    run()
