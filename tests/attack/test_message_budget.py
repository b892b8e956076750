"""The budget counts every frame, and no client that behaves ever exceeds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode

from asr_server.errors import MessageTooLong, TooManyMessages
from asr_server.settings import Settings
from asr_server.websocket.message_budget import (
    BINARY,
    BURST_S,
    CONTINUATION,
    MAX_BYTES,
    MAX_FRAMES,
    TEXT,
    Frame,
    FrameScanner,
    MessageBudget,
)
from tests.support.attacks.flood import PING, frame

RATE = Settings().max_messages_per_second
BURST = int(RATE * BURST_S)


def budget(per_second: float = RATE, max_bytes: int = 1 << 20) -> MessageBudget:
    return MessageBudget(per_second, max_bytes, now=0)


def spend(budget: MessageBudget, count: int, one: Frame, now: float = 0.0) -> None:
    for _ in range(count):
        budget.spend([one], now)


# Who never meets it -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [160, 320, 1024, 3200, 16_384])
def test_pcm_may_come_in_any_number_of_frames_at_once(size):
    spend(budget(), 20 * BURST, Frame(BINARY, True, size))


@pytest.mark.parametrize(
    ("interval_s", "size"), [(0.01, 32), (0.01, 320), (0.02, 13), (0.02, 60), (0.0051, 1)]
)
def test_small_frames_may_come_at_the_rate_of_live_audio_for_hours(interval_s, size):
    spent = budget()
    for number in range(200_000):
        spent.spend([Frame(BINARY, True, size)], number * interval_s)


def test_a_client_may_catch_up_after_its_network_was_gone():
    spent = budget()
    spend(spent, BURST, Frame(BINARY, True, 1), now=30)


def test_a_task_with_a_long_hotword_list_costs_little():
    spend(budget(), 100, Frame(TEXT, True, 20_000))


def test_a_budget_of_zero_allows_any_rate():
    spend(budget(per_second=0), 100_000, Frame(BINARY, True, 0))


def test_audio_inside_of_text_pays_for_its_text():
    spent = budget(max_bytes=8 << 20)
    spent.audio_as_text = True
    for audio_bytes in [3 << 20, *[320] * 2 * BURST]:
        text_bytes = audio_bytes * 4 // 3 + 60
        spent.spend([Frame(TEXT, True, text_bytes)], 0)
        spent.text_read(text_bytes, audio_bytes)


# Who does -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one",
    [
        Frame(BINARY, True, 0),
        Frame(BINARY, True, 1),
        Frame(TEXT, True, 0),
        Frame(CONTINUATION, False, 0),
        Frame(PING, True, 125),
    ],
    ids=["empty", "one byte", "text", "fragments", "pings"],
)
def test_frames_that_bring_nothing_exceed_it(one):
    spent = budget()
    spend(spent, BURST, one)
    with pytest.raises(TooManyMessages):
        spend(spent, BURST // 100, one)


def test_long_texts_cost_more_than_short_ones():
    with pytest.raises(TooManyMessages):
        spend(budget(), 50, Frame(TEXT, True, 200_000))


def test_earlier_audio_pays_for_no_more_than_the_burst():
    spent = budget()
    spend(spent, 1000, Frame(BINARY, True, 16_384))
    with pytest.raises(TooManyMessages):
        spend(spent, BURST + 200, Frame(BINARY, True, 0))


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(BINARY, True, 1001)],
        [Frame(BINARY, False, 600), Frame(CONTINUATION, True, 401)],
        [Frame(TEXT, False, 1000), Frame(PING, True, 5), Frame(CONTINUATION, False, 1)],
    ],
)
def test_a_message_over_the_size_limit_is_refused_however_it_is_cut(frames):
    with pytest.raises(MessageTooLong, match="longer than 1000 bytes"):
        budget(max_bytes=1000).spend(frames, 0)


def test_messages_of_exactly_the_limit_are_accepted_one_after_the_other():
    spend(budget(max_bytes=1000), 100, Frame(BINARY, True, 1000))


# Frames -------------------------------------------------------------------------------------------


def scanned(data: bytes, cuts: list[int]) -> tuple[bytes, list[Frame], list[int]]:
    """Return all parts, all frames and the frames of each part, of data that comes in pieces."""
    scanner, pending = FrameScanner(), bytearray()
    parts, frames, counts = b"", [], []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in zip(edges, edges[1:], strict=False):
        pending += data[begin:end]
        while True:
            size, found = scanner.scan(pending)
            if not size:
                break
            parts += pending[:size]
            del pending[:size]
            frames += found
            counts.append(len(found))
    return parts, frames, counts


FRAMES = st.builds(
    Frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, PING]),
    st.booleans(),
    st.sampled_from([0, 1, 2, 125, 126, 127, 3200, 65_535, 65_536, 70_000]),
)


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 300_000), max_size=8))
def test_frames_are_found_whatever_pieces_they_come_in(frames, cuts):
    data = b"".join(frame(f.opcode, bytes(f.length), final=f.final) for f in frames)
    parts, found, _ = scanned(data, cuts)
    assert parts == data
    assert found == frames


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8))
def test_garbage_is_scanned_alike_whatever_pieces_it_comes_in(data, cuts):
    whole, in_pieces = scanned(data, []), scanned(data, cuts)
    assert in_pieces[1] == whole[1]
    assert data.startswith(in_pieces[0])


@given(st.binary(max_size=300), st.booleans())
def test_the_scanner_agrees_with_the_websocket_library(payload, final):
    data = LibraryFrame(Opcode.BINARY, payload, fin=final).serialize(mask=True)
    assert scanned(data, [])[1] == [Frame(BINARY, final, len(payload))]


def test_only_some_frames_are_parsed_in_one_go():
    _, frames, counts = scanned(frame(BINARY) * 1000, [])
    assert len(frames) == 1000
    assert max(counts) == MAX_FRAMES


def test_many_bytes_are_parsed_in_one_go_only_if_they_are_one_frame():
    size, _ = FrameScanner().scan(bytearray(frame(BINARY, bytes(1000)) * 1000))
    assert size < MAX_BYTES + 1008


def test_text_that_holds_no_audio_costs_what_it_takes_to_read():
    spent = budget()
    spent.audio_as_text = True
    for _ in range(21):
        spent.spend([Frame(TEXT, True, 200_000)], 0)
        spent.text_read(200_000, 0)
    with pytest.raises(TooManyMessages):
        spend(spent, 1, Frame(TEXT, True, 200_000))
