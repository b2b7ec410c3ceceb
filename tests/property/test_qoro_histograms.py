"""Laws of Qoro's packed histograms: they come back as they were, and what is damaged is refused as far as it shows."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjobs.backends.qoro import histograms
from qjobs.errors import InvalidInput, ProtocolError

N_HISTOGRAMS = 10_000
LAWS = settings(max_examples=200)
KNOWN = bytes.fromhex("514831030305030104020503010101010101")


def some_counts(rng: random.Random, n_bits: int, most: int = 12) -> dict[str, int]:
    """Up to `most` bit strings: near each other or far apart, with few shots or many."""
    counts: dict[str, int] = {}
    base = rng.getrandbits(n_bits)
    for _ in range(rng.randrange(most + 1)):
        index = rng.choice((base ^ rng.getrandbits(min(n_bits, 3)), rng.getrandbits(n_bits), 0, (1 << n_bits) - 1))
        counts[format(index, f"0{n_bits}b")] = rng.choice((1, 1, 1, 2, 3, 129, 130, rng.randrange(1, 1 << 40)))
    return counts


def changed(entry: dict[str, Any], data: bytes) -> dict[str, Any]:
    return {**entry, "payload": base64.b64encode(data).decode()}


def payload_of(entry: dict[str, Any]) -> bytes:
    return base64.b64decode(entry["payload"])


def test_known_bytes() -> None:
    """The example of the contract, byte by byte."""
    counts = {"001": 1, "101": 3, "111": 1}
    assert histograms.to_bytes(counts, 3, "qh1") == KNOWN
    assert histograms.from_bytes(KNOWN, "qh1", n_bits=3, shots=5) == counts


def test_round_trips() -> None:
    """10,000 histograms of 1 to 1,000 bits come back as they were."""
    rng = random.Random(12)
    for number in range(N_HISTOGRAMS):
        n_bits = 1 + number % 1000
        counts = some_counts(rng, n_bits)
        entry = histograms.encode(counts, n_bits)
        assert entry["encoding"] == ("qh1" if n_bits < 256 else "qh2")
        assert histograms.decode(entry, n_bits=n_bits, shots=sum(counts.values())) == counts


@pytest.mark.parametrize("n_bits", [1, 2, 7, 64, 255, 256, 1000])
def test_cut_off(n_bits: int) -> None:
    """No beginning of a histogram is one, and nothing may follow it."""
    rng = random.Random(n_bits)
    for _ in range(20):
        entry = histograms.encode(some_counts(rng, n_bits, most=4), n_bits)
        data = payload_of(entry)
        for end in range(len(data)):
            with pytest.raises(ProtocolError):
                histograms.decode(changed(entry, data[:end]))
        with pytest.raises(ProtocolError, match="follow"):
            histograms.decode(changed(entry, data + b"\0"))


@pytest.mark.parametrize("n_bits", [1, 2, 7, 64, 255, 256, 1000])
def test_flipped(n_bits: int) -> None:
    """A flipped bit is refused, or it makes another histogram of the same shots, written in the one right way."""
    rng = random.Random(n_bits)
    refused = 0
    hidden = 0
    for _ in range(10):
        counts = some_counts(rng, n_bits, most=4)
        entry = histograms.encode(counts, n_bits)
        data = payload_of(entry)
        for position in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[position // 8] ^= 1 << position % 8
            try:
                found = histograms.decode(changed(entry, bytes(flipped)), n_bits=n_bits, shots=sum(counts.values()))
            except ProtocolError:
                refused += 1
                continue
            hidden += 1
            assert found != counts
            assert sum(found.values()) == sum(counts.values())
            assert payload_of(histograms.encode(found, n_bits)) == flipped
            assert position // 8 > 3, "the encoding and the width are known"
    assert refused > 0 or hidden == 0


@LAWS
@given(st.binary(max_size=60), st.sampled_from(["qh1", "qh2"]))
def test_anything(tail: bytes, encoding: str) -> None:
    """Bytes that can be read are those that would be written."""
    data = encoding.upper().encode() + tail
    try:
        counts = histograms.from_bytes(data, encoding)
    except ProtocolError:
        return
    width = len(next(iter(counts), ""))
    if counts:
        assert histograms.to_bytes(counts, width, encoding) == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("51483101 80 00 00 00 01 00 00", "more bytes than it needs"),
        ("51483101 01 05 01 02 01 00 00", "gap of more than 1"),
        ("51483101 02 02 02 01 00 03 01 01 02 00", "twice"),
        ("51483101 02 02 02 01 01 03 01 01 02 00", "more than 1 bits"),
        ("51483101 01 01 02 00 03 01 01 01 00", "as many gaps"),
        ("51483101 01 01 01 00 03 01 02 01 00", "neither 0 nor 1"),
        ("51483101 01 01 01 00 04 02 00 00 01 00", "of more than 1"),
        ("51483102 02 02 02 00 01 05 02 00 00 01 02 00", "empty run"),
        ("51483101 01 01 01 00 04 01 01 01 00 00", "follow the runs"),
        ("51483101 01 01 01 00 03 01 01 01 01 00", "as many extras"),
        ("51483101 01 03 01 00 03 01 00 01 01 00", "are 2 shots, and it says 3"),
        ("51483102 02 01 02 00 01 03 01 01 02 00", "2 bit strings of 1 shots"),
        ("514832 ff ff ff ff 7f", "width of more than 1048576"),
        ("514832 80 80 40 ff ff 7f ff ff ff 7f ff ff 7f", "longer than anybody can read"),
    ],
)
def test_refused(data: str, words: str) -> None:
    """Each thing that the format can prove is looked at, and said."""
    raw = bytes.fromhex(data)
    with pytest.raises(ProtocolError, match=words):
        histograms.from_bytes(raw, "qh1" if raw[2:3] == b"1" else "qh2")


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "qh2"},
        {"encoding": "qh3"},
        {"encoding": None},
        {"n_bits": 4},
        {"n_bits": "3"},
        {"n_bits": True},
        {"payload": ""},
        {"payload": None},
        {"payload": "UUgxAwMFAwEEAgUDAQEBAQEBx"},
        {"payload": "UUgx AwMFAwEEAgUDAQEBAQEB"},
    ],
)
def test_envelope(change: dict[str, object]) -> None:
    """What is said around the payload has to agree with it."""
    entry = histograms.encode({"001": 1, "101": 3, "111": 1}, 3)
    with pytest.raises(ProtocolError):
        histograms.decode({**entry, **change})


def test_base64_padding() -> None:
    """Bits that base64 has no use for are 0."""
    entry = histograms.encode({"01": 1}, 2)
    payload = entry["payload"]
    assert payload.endswith("=")
    body = payload.rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(body[-1]) + 1]
    with pytest.raises(ProtocolError, match="no use for"):
        histograms.decode({**entry, "payload": body[:-1] + other + payload[len(body) :]})


@pytest.mark.parametrize(("n_bits", "shots"), [(2, 5), (4, 5), (3, 4), (3, 6)])
def test_expected(n_bits: int, shots: int) -> None:
    """A histogram of another circuit, or of another number of shots, is refused."""
    with pytest.raises(ProtocolError):
        histograms.decode(histograms.encode({"001": 1, "101": 3, "111": 1}, 3), n_bits=n_bits, shots=shots)


@pytest.mark.parametrize(
    ("counts", "n_bits"),
    [
        ({"01": 1}, 3),
        ({"0x": 1}, 2),
        ({" 1": 1}, 2),
        ({"01": -1}, 2),
        ({}, -1),
        ({}, (1 << 20) + 1),
        ({"0": 1 << 63}, 1),
    ],
)
def test_unwritable(counts: dict[str, int], n_bits: int) -> None:
    """What is no histogram is not written."""
    with pytest.raises(InvalidInput):
        histograms.encode(counts, n_bits)


def test_no_shots() -> None:
    """Bit strings without shots are left out; without any, and without any bit, there is still a histogram."""
    assert histograms.decode(histograms.encode({"00": 0, "10": 2}, 2)) == {"10": 2}
    assert histograms.decode(histograms.encode({}, 5), shots=0) == {}
    assert histograms.decode(histograms.encode({"": 7}, 0), shots=7) == {"": 7}
