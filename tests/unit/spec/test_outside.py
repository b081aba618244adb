"""D3, D4: outside files and messages are read within limits; what is wrong is one error."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import DataError, IntegrityError, SpecError
from edgetransfer.spec import outside
from edgetransfer.spec.outside import JSON, TOML, Kind

SMALL = Kind("note", 1000, DataError, expected="a note of ours")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (os.mkfifo, "a named pipe, no file"),
        (lambda path: path.mkdir(), "a folder, no file"),
        (lambda path: path.symlink_to("/dev/zero"), "a device, no file"),
        (lambda path: path.symlink_to("nowhere"), "a link to nothing"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b" " * 1001), "1,001 bytes; at most 1,000 are read"),
        (lambda path: (path.touch(), os.truncate(path, 1 << 40)),
         "1,099,511,627,776 bytes; at most 1,000 are read"),
        (lambda path: path.write_bytes(b"abc\xff"), "not UTF-8: byte 0xff at offset 3"),
    ],
)  # fmt: skip
def test_what_is_no_readable_file_is_told_at_once(tmp_path, make, found):
    make(tmp_path / "x")
    with pytest.raises(DataError) as told:
        outside.text_of(tmp_path / "x", SMALL)
    assert str(told.value) == (
        f"{tmp_path / 'x'}: not a readable note\n  found: {found}\n  expected: a note of ours"
    )


def test_a_socket_and_a_name_with_a_zero_byte(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(IntegrityError, match="No such device or address"):
            outside.json_of(tmp_path / "s")
    with pytest.raises(IntegrityError, match="embedded null byte") as told:
        outside.json_of(tmp_path / "a\0b")
    assert "a\\x00b: not a readable JSON file" in str(told.value)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "x").write_bytes(b'\xef\xbb\xbf{"a": "caf\xc3\xa9"}')
    assert outside.json_of(tmp_path / "x") == {"a": "café"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "nested over 40 deep"),
        ("[" * 41 + "]" * 41, "nested over 40 deep"),
        ('{"a":' * 41 + "0" + "}" * 41, "nested over 40 deep"),
        ("9" * 5000, "a number of 5,000 digits"),
        ("-" + "9" * 41, "a number of 42 digits"),
        ("[NaN]", "NaN is no finite number"),
        ("[-Infinity]", "-Infinity is no finite number"),
        ("[1e999]", "1e999 is no finite number"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ('["\\ud800"]', "'utf-8' codec can't encode character '\\ud800' in position 0"),
    ],
)
def test_json_out_of_bounds(text, found):
    with pytest.raises(IntegrityError) as told:
        outside.parsed(text, "here")
    assert str(told.value).startswith(f"here: not a readable JSON file\n  found: {found}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a = " + "[" * 5000, "nested over 40 deep"),
        ("a" + ".a" * 50 + " = 1", "nested over 40 deep"),
        ("a = " + "9" * 5000, "Exceeds the limit (4300 digits) for integer string conversion"),
        ("a = 0x" + "f" * 5000, "a number of 20,000 bits"),
        ("a = ", "Invalid value (at end of document)"),
    ],
)
def test_toml_out_of_bounds(tmp_path, text, found):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(SpecError) as told:
        outside.toml_of(tmp_path / "x.toml")
    head = f"{tmp_path / 'x.toml'}: not a readable TOML file\n  found: {found}"
    assert str(told.value).startswith(head)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**64), 2**64)
        | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)  # fmt: skip
def test_what_we_write_is_read_as_it_was(value):
    from edgetransfer.bundle.files import canonical_json

    assert outside.parsed(canonical_json(value).encode(), "here") == value


@given(st.binary())
def test_any_bytes_are_a_value_or_one_error(content):
    for kind in (JSON, TOML):
        try:
            outside.parsed(content, "here", kind)
        except (IntegrityError, SpecError) as error:
            assert "found: " in str(error)  # noqa: PT017


@given(st.text())
def test_what_is_printable_moves_no_cursor(text):
    shown = outside.printable(text)
    assert all(each.isprintable() or each in "\n\t" for each in shown)
    shown.encode()
    assert outside.printable(shown) == shown


def test_what_is_found_is_shown_short():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert len(outside.shortened(deep)) <= 80
    assert len(outside.shortened({"x" * 1000: ["y" * 1000] * 1000})) <= 80


def test_many_problems_are_told_up_to_a_point():
    from edgetransfer.spec.target import TargetSpec

    with pytest.raises(SpecError) as told:
        outside.validated(TargetSpec, {f"x{i}": 1 for i in range(99)}, "a.toml", TOML)
    assert str(told.value).endswith("x4: no such field; and 94 more")
