"""What the responses of servers say of a file, to the second."""

from email.utils import formatdate

import pytest
import urllib3

from dusha_ser.archives.transfer import (
    Origin,
    describe_failure,
    parse_date,
    retry_after,
)

NOON = 1_700_000_000
DATE = {"Date": formatdate(NOON, usegmt=True)}


def stated(seconds_before, **headers):
    """The origin that an answer at noon states of a file that was changed some seconds before."""
    changed = formatdate(NOON - seconds_before, usegmt=True)
    return Origin.of(DATE | {"Last-Modified": changed} | headers, 5)


@pytest.mark.parametrize(("seconds", "is_relied_on"), [(-3600, False), (0, False), (1, True)])
def test_origin_when_the_file_changed_in_the_second_of_the_answer(seconds, is_relied_on):
    assert (stated(seconds).last_modified is not None) is is_relied_on
    assert (stated(seconds).validator is not None) is is_relied_on


def test_origin_when_the_time_of_change_is_no_date():
    assert Origin.of({"Last-Modified": "yesterday"}, None) == Origin()
    assert Origin.of({"Last-Modified": formatdate(NOON, usegmt=True)}, None).last_modified


def test_validator_is_a_strong_tag_before_a_time():
    assert stated(9, ETag='"a"').validator == '"a"'
    assert stated(9, ETag='W/"a"').validator == stated(9).last_modified
    assert stated(0, ETag='W/"a"').validator is None


def test_agrees_when_something_that_both_know_differs():
    assert stated(9).agrees(Origin())
    assert not stated(9).agrees(Origin(size=6))
    assert not stated(9).agrees(stated(8))
    assert stated(9, ETag='"a"').agrees(stated(8, ETag='"a"'))  # the tag leaves no doubt
    assert not stated(9, ETag='"a"').agrees(stated(9, ETag='"b"'))
    assert not stated(9, ETag='W/"a"').agrees(stated(8, ETag='W/"a"'))


def test_retry_after_when_it_is_a_date_or_nothing():
    assert retry_after({}) == retry_after({"Retry-After": "soon"}) == 0
    assert retry_after({"Retry-After": formatdate(NOON, usegmt=True)}) == 0  # long past
    assert parse_date(None) is parse_date("soon") is None


def test_describe_failure_names_the_cause_alone():
    inner = ConnectionRefusedError(111, "Connection refused")
    wrapped = urllib3.exceptions.ProtocolError("Connection aborted.", inner)
    assert describe_failure(wrapped) == "[Errno 111] Connection refused"
    assert describe_failure(urllib3.exceptions.IncompleteRead(1, 2)) == (
        "the connection was closed early"
    )
    assert describe_failure(OSError()) == "OSError"
