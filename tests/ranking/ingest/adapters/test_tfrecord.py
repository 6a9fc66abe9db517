"""TFRecord: framing and messages are read as TensorFlow writes them, and every damage is one clear error."""

import struct
from pathlib import Path

import pytest
from adapter_files import source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tfrecord_factory import example, feature, field, frame, masked, varint

from ranking.errors import SourceError
from ranking.ingest.adapters import tfrecord
from ranking.ingest.adapters.tfrecord import first_values, records

# {"a": b"x", "f": 0.5, "i": -2}, put together by hand from the definitions of the messages:
# Example{1: Features{1: {1: key, 2: Feature{1: bytes | 2: packed floats | 3: packed int64s}}}}.
BY_HAND = bytes.fromhex(
    "0a30"  # features, 48 bytes
    "0a0a" + "0a0161" + "1205" + "0a03" + "0a0178"  # "a": bytes list of "x"
    "0a0d" + "0a0166" + "1208" + "1206" + "0a04" + "0000003f"  # "f": packed float 0.5
    "0a13" + "0a0169" + "120e" + "1a0c" + "0a0a" + "feffffffffffffffff01"  # "i": packed -2
)
ANY = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bitwise(data: bytes) -> int:
    """CRC-32C by its definition: reflected polynomial 0x82F63B78."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def found(folder: Path, data: bytes) -> list[bytes]:
    path = folder / "a.tfrecord"
    path.write_bytes(data)
    return list(records(source(path)))


def test_the_checksum_is_the_published_one() -> None:
    assert bitwise(b"123456789") == 0xE3069283  # the check value of CRC-32C in every catalogue
    crc = bitwise(b"hello")
    assert masked(b"hello") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def test_records_are_what_was_framed(tmp_path: Path) -> None:
    assert found(tmp_path, frame(b"hello") + frame(b"") + frame(b"x" * 70_000)) == [b"hello", b"", b"x" * 70_000]
    assert found(tmp_path, b"") == []


@pytest.mark.parametrize("at", [0, 8, 11, 12, 16, 17, 20])
def test_one_wrong_bit_anywhere_is_an_error(tmp_path: Path, at: int) -> None:
    data = bytearray(frame(b"hello") + frame(b"world"))
    data[at] ^= 1
    with pytest.raises(SourceError, match="record 0"):
        found(tmp_path, bytes(data))


@pytest.mark.parametrize("size", [1, 11, 12, 14, 20])
def test_a_file_that_ends_early_is_an_error(tmp_path: Path, size: int) -> None:
    with pytest.raises(SourceError, match=r"record 1.*ends early"):
        found(tmp_path, frame(b"hello") + frame(b"world")[:size])


def test_a_record_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 40)
    with pytest.raises(SourceError, match="more than 16000000 bytes"):
        found(tmp_path, length + struct.pack("<I", masked(length)) + b"x" * 100)


@ANY
@given(st.binary(max_size=80))
def test_any_bytes_give_records_or_one_error(tmp_path: Path, data: bytes) -> None:
    try:
        assert found(tmp_path, frame(b"a") + data)[0] == b"a"
    except SourceError as error:
        assert error.code == "source-not-tfrecord"


def test_the_first_values_of_an_example() -> None:
    assert first_values(BY_HAND, {"a", "f", "i", "z"}) == {"a": b"x", "f": 0.5, "i": -2.0}
    assert first_values(BY_HAND, {"f"}) == {"f": 0.5}


def test_the_factory_writes_what_was_taken_apart_by_hand() -> None:
    assert example({"a": b"x", "f": 0.5, "i": -2}) == BY_HAND


def test_numbers_may_come_one_by_one_and_lists_may_be_empty() -> None:
    loose = feature(2, field(1, struct.pack("<f", 1.5), wire=5) + field(1, struct.pack("<f", 2.5), wire=5))
    integer = feature(3, varint(1 << 3) + varint(7))
    assert first_values(example({"f": loose, "i": integer}), {"f", "i"}) == {"f": 1.5, "i": 7.0}
    empty = {"b": feature(1, b""), "f": feature(2, field(1, b"")), "i": feature(3, field(1, b"")), "n": b""}
    assert (
        first_values(example({name: payload for name, payload in empty.items() if name != "n"}), {"b", "f", "i"}) == {}
    )


@ANY
@given(st.binary(max_size=60))
def test_any_bytes_are_an_example_or_a_value_error(data: bytes) -> None:
    for message in (
        data,
        field(1, data),
        field(1, field(1, data)),
        field(1, field(1, field(1, b"f") + field(2, data))),
    ):
        try:
            values = first_values(message, {"f", ""})
        except ValueError:
            continue
        assert all(isinstance(value, bytes | float) for value in values.values())


@ANY
@given(st.data())
def test_a_damaged_example_is_an_example_or_a_value_error(data: st.DataObject) -> None:
    message = bytearray(BY_HAND)
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        values = first_values(bytes(message), {"a", "f", "i"})
    except ValueError:
        return
    assert set(values) <= {"a", "f", "i"}


def test_the_cap_is_far_above_real_records() -> None:
    assert tfrecord.MAX_RECORD >= 4 * 512 * 512 * 2  # two heat maps of 512 × 512, uncompressed, four times over
