"""Durations and sizes read as people write them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_contract.quantities import BYTES, SECONDS, InvalidQuantity, byte_count, seconds
from o365mailer_contract.settings import Delivery


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("500ms", 0.5), ("5m", 300), ("24h", 86400), ("2d", 172800)]
)
def test_a_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("35Mi", 36_700_160), ("35M", 35_000_000), ("512", 512), ("1Gi", 2**30)]
)
def test_a_size_is_read_in_bytes(text: str, expected: int) -> None:
    assert byte_count(text) == expected


@pytest.mark.parametrize("text", ["", "s", "10", "10 s", "-1s", "1.5h", "1h30m", "१s", "10s\n", "9" * 5000 + "s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidQuantity, match="is not a duration such as 10s, 5m or 24h"):
        seconds(text)


@pytest.mark.parametrize("text", ["", "Mi", "35MB", "35 Mi", "-1", "1.5Mi", "35mi", "9" * 5000])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidQuantity, match="is not a size such as 35Mi or 500Ki"):
        byte_count(text)


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(sorted(SECONDS)))
def test_a_number_and_its_unit_multiply(number: int, unit: str) -> None:
    assert seconds(f"{number}{unit}") == number * SECONDS[unit]


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(sorted(BYTES)))
def test_a_size_and_its_unit_multiply(number: int, unit: str) -> None:
    assert byte_count(f"{number}{unit}") == number * BYTES[unit]


@pytest.mark.parametrize("text", ["10s\n", "10s ", "\n10s"])
def test_a_quantity_is_the_whole_text(text: str) -> None:
    with pytest.raises(InvalidQuantity):
        seconds(text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"confirmWithin": text}, Delivery)
