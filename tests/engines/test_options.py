"""What can be asked of engines, and what is said of a cluster that is not there."""

import socket
import sys
from pathlib import Path

import pytest

from dusha_ser.cli.predict import main as predict
from dusha_ser.engines.cluster import check_address, connect, same_folder
from dusha_ser.engines.options import EngineOptions
from dusha_ser.errors import WorkFailedError, WrongUseError


@pytest.fixture
def closed_address():
    """An address of this machine that nobody listens at."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{own.getsockname()[1]}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": "spark"}, "`engine` is 'spark'; allowed are here, ray"),
        ({"address": "auto"}, "add `engine=ray`"),
    ],
)
def test_options_that_do_not_fit_are_refused(given, said):
    with pytest.raises(WrongUseError, match=said):
        EngineOptions(**given).check()


def test_engines_that_there_are():
    for options in (EngineOptions(), EngineOptions(engine="ray", address="auto")):
        options.check()
    EngineOptions().refuse()
    with pytest.raises(WrongUseError, match="give `output_shards`"):
        EngineOptions(engine="ray").refuse()


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port"])
def test_address_that_is_none_is_refused(address):
    with pytest.raises(WrongUseError, match="give HOST:PORT"):
        check_address(address)


def test_address_that_nobody_listens_at_is_said_at_once(closed_address):
    with pytest.raises(WorkFailedError, match=f"no cluster of Ray at {closed_address}: "):
        check_address(closed_address)


def test_processes_elsewhere_work_in_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    enter = same_folder()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    enter()
    assert Path.cwd() == tmp_path


def test_missing_ray_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WrongUseError, match=r'pip install "dusha-ser\[ray\]"'), connect():
        pass


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["spark"], "spark"),
        (["ray"], "give .?-?-?output_shards"),
        (["ray", "--output_shards", "OUT", "--address", "head"], "give HOST:PORT"),
        (["ray", "--output_shards", "OUT", "--overwrite"], "remove shards that other machines"),
        (["ray", "--output_shards", "OUT", "--output_file", "rows.csv"], "do not go together"),
    ],
)
def test_predict_refuses_before_any_work(more, said, tmp_path):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "dusha"}')
    (tmp_path / "a.wav").touch()
    words = [str(tmp_path / "out") if word == "OUT" else word for word in more]
    with pytest.raises(WrongUseError, match=said):
        predict([str(tmp_path / "model"), str(tmp_path / "a.wav"), "--engine", *words])
