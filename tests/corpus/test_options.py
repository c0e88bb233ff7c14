"""Options of the corpus: the same in Python and on the command line, refused in one line."""

import re
from dataclasses import fields

import pytest

from dusha_ser.cli.corpus import main
from dusha_ser.corpus.options import CorpusOptions, check_num_proc
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import digest
from dusha_ser.options import split_list


def parse(*arguments):
    """The options of the corpus, which stand between those of its source and of the engine."""
    *_, corpus, _ = main.make_parser().parse_options(arguments)
    return corpus


def test_split_list_when_text_or_list():
    assert split_list("a, b,c") == split_list(["a", "b", "c"]) == ("a", "b", "c")


def test_options_when_each_field_has_a_help_sentence():
    assert all(option.metadata["help"] for option in fields(CorpusOptions))


def test_corpus_options_when_nothing_is_given():
    assert parse() == CorpusOptions()


def test_corpus_options_when_all_is_given():
    options = parse(
        *("--method", "majority_vote", "--iterations", "7", "--tolerance", "0"),
        *("--threshold", "0.5", "--multi_threshold", "0.3", "--golden", "--keep_control"),
        *("--keep_other", "--labels", "yes, no", "--parts", "crowd_test,crowd_train"),
        *("--input_features", "--validation", "0.1", "--bad_rows", "skip"),
        *("--keep_unsure", "--log_likelihoods"),
    )
    options.check_options()
    assert options.as_dict() == {
        "method": "majority_vote",
        "iterations": 7,
        "tolerance": 0.0,
        "threshold": 0.5,
        "multi_threshold": 0.3,
        "golden": True,
        "keep_unsure": True,
        "log_likelihoods": True,
        "keep_control": True,
        "keep_other": True,
        "labels": ["yes", "no"],
        "parts": ["crowd_train", "crowd_test"],
        "input_features": True,
        "validation": 0.1,
        "bad_rows": "skip",
    }


def test_source_options_when_given():
    folder, source, *_ = main.make_parser().parse_options([])
    assert vars(source) == {"data_dir": None, "base_url": (), "cache_dir": None, "num_proc": None}
    assert (folder.checksum, folder.quiet) == ([], False)
    arguments = ["--base_url", "a", "--base_url", "b", "--checksum", "crowd.tar=md5:12"]
    folder, source, *_ = main.make_parser().parse_options(arguments)
    assert source.base_url == ("a", "b")
    assert folder.checksum == [("crowd.tar", "md5:12")]
    with pytest.raises(WrongUseError, match="ARCHIVE=KIND:HEX"):
        main.make_parser().parse_options(["--checksum", "md5:12"])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("method", "vote", "`method` is 'vote': take one of dawid_skene, "),
        ("iterations", -1, "`iterations` is -1: take a number of at least 0"),
        ("tolerance", -1e-5, "`tolerance` is -1e-05: take a number of at least 0"),
        ("threshold", 0, "`threshold` is 0: take a number above 0 and up to 1"),
        ("threshold", float("nan"), "`threshold` is nan: take a number above 0 and up to 1"),
        ("multi_threshold", 1.1, "`multi_threshold` is 1.1: take a number above 0 and up to 1"),
        ("validation", 1, "`validation` is 1: take a number of at least 0 and below 1"),
        ("labels", "a,b,a", "`labels` are 'a', 'b', 'a'; give at least two, each once"),
        ("labels", "a,,b", "`labels` are 'a', '', 'b'; give at least two, each once"),
        ("labels", "a,NaN", "none of them empty or nan: `labels=angry,sad,neutral"),
        ("parts", "", "`parts` is : take one or more of crowd_train, crowd_test"),
        ("parts", "crowd_test,crowd_test", "each once"),
        ("bad_rows", "drop", "`bad_rows` is 'drop': take one of error, skip"),
    ],
)
def test_check_options_when_refused(option, value, message):
    with pytest.raises(WrongUseError, match=re.escape(message)):
        CorpusOptions(**{option: value}).check_options()


def test_check_num_proc_when_refused():
    check_num_proc(None)
    check_num_proc(1)
    with pytest.raises(WrongUseError, match="`num_proc` is 0: take an integer of at least 1"):
        check_num_proc(0)


def test_class_names_when_other_is_dropped_or_kept():
    assert CorpusOptions().class_names() == ["angry", "sad", "neutral", "positive"]
    assert CorpusOptions(keep_other=True).class_names()[-1] == "other"
    assert CorpusOptions(labels=("calm", "other", "loud")).class_names() == ["calm", "loud"]


def test_digest_when_values_differ():
    assert digest("a", 1) == digest("a", 1) != digest("a", 2)
    assert re.fullmatch("[0-9a-f]{16}", digest(CorpusOptions().as_dict()))
