"""Uploads in pieces: put together again, stopped, and refused with a reason."""

import pytest

import vizkit
from vizkit.widgets.upload import MOST, Inbox, Receiver, StoppedError, Upload

CONTENT = bytes(range(256)) * 40


def pieces(content, size=1000, **changed):
    for start in range(0, len(content), size):
        whole = {"number": "a", "name": "x.png", "size": len(content), "start": start}
        yield content[start : start + size], whole | changed


@pytest.mark.parametrize("size", [1, 999, 1000, 10240, 20000])
def test_pieces_become_the_file(size):
    inbox = Inbox()
    found = [inbox.add(piece, **told) for piece, told in pieces(CONTENT, size)]
    assert found.pop() == CONTENT
    assert set(found) <= {None}
    assert not inbox.clear(), "nothing is kept"


def test_what_is_missing_or_from_elsewhere_is_not_taken():
    (first, told), (second, later), *_ = pieces(CONTENT)
    inbox = Inbox()
    with pytest.raises(StoppedError):
        inbox.add(second, **later)
    inbox.add(first, **told)
    with pytest.raises(StoppedError):
        inbox.add(second, **later | {"number": "b"})
    with pytest.raises(StoppedError):
        inbox.add(second, **later | {"start": 2000})
    assert inbox.add(second, **later) is None
    assert inbox.share == 2000 / len(CONTENT)


def test_another_upload_takes_the_place_of_one_that_never_ended():
    inbox = Inbox()
    inbox.add(b"abc", "a", "x.png", 10, 0)
    assert inbox.add(b"0123", "b", "y.png", 4, 0) == b"0123"


def test_an_empty_file_is_whole_at_once():
    assert Inbox().add(b"", "a", "x.png", 0, 0) == b""


class Told:
    def __init__(self):
        self.steps, self.files, self.failures, self.answers = [], [], [], []
        self.upload = Upload()
        self.begun = 0
        self.upload.tell(Receiver(self.begin, self.step, self.done, self.failures.append))
        self.upload.send = self.answers.append

    def begin(self):
        self.begun += 1

    def step(self, name, share):
        self.steps.append((name, share))

    def done(self, name, content):
        if name == "bad":
            raise vizkit.InputError("bad: not an image")
        self.files.append((name, content))

    def give(self, piece, **told):
        self.upload._handle_custom_msg(told, [memoryview(piece)])


def test_every_message_is_answered():
    told = Told()
    for piece, words in pieces(CONTENT, 4000):
        told.give(piece, **words)
    assert told.files == [("x.png", CONTENT)]
    assert [each["more"] for each in told.answers] == [True, True, False]
    assert [share for _, share in told.steps] == [4000 / 10240, 8000 / 10240]
    told.give(b"x", number="b", name="bad", size=1, start=0)
    assert told.failures == ["bad: not an image"]
    assert told.answers[-1] == {"number": "b", "more": False, "stopped": False}


def test_a_file_that_is_too_large_is_refused_at_its_first_piece():
    told = Told()
    told.give(b"x" * 10, number="a", name="<b>huge.png", size=MOST + 1, start=0)
    assert told.answers == [{"number": "a", "more": False, "stopped": False}]
    assert "huge.png: 105 MB are too many to upload" in told.failures[0]
    assert "give its path" in told.failures[0]


def test_messages_that_make_no_sense_are_answered_and_told():
    told = Told()
    told.upload._handle_custom_msg({"number": "a"}, [])
    assert told.answers == [{"number": "a", "more": False, "stopped": False}]
    assert told.failures


def test_what_was_chosen_together_is_stopped_together():
    told = Told()
    whole = {"number": "a", "name": "x.png", "size": 10, "start": 0}
    told.give(b"01234", **whole, selection="one")
    assert told.upload.cancel()
    told.give(b"56789", **whole | {"start": 5}, selection="one")
    told.give(b"0123456789", **whole | {"number": "b"}, selection="one")
    assert [each["stopped"] for each in told.answers] == [False, True, True]
    assert told.files == told.failures == []
    told.give(b"0123456789", **whole | {"number": "c"}, selection="two")
    assert told.files == [("x.png", b"0123456789")]
    assert told.begun == 2
