"""Addresses: what they may be, and that nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_tumor.errors import InputError
from monai_tumor.pacs import Node, Web, parse_address, parse_node

TITLES = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), min_size=1,
    max_size=16,
).filter(lambda t: t.strip(" ") == t)  # fmt: skip
HOSTS = st.sampled_from(["localhost", "pacs.hospital.org", "10.0.0.7", "::1", "fe80::1:2"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ORTHANC@127.0.0.1:4242", Node("ORTHANC", "127.0.0.1", 4242)),
        ("MY PACS@pacs.example.org:104", Node("MY PACS", "pacs.example.org", 104)),
        ("A@B@host:1", Node("A@B", "host", 1)),
        ("PACS@[::1]:11112", Node("PACS", "::1", 11112)),
        ("https://pacs.example.org/dicom-web/", Web("https://pacs.example.org/dicom-web")),
        ("http://127.0.0.1:8042/dicom-web", Web("http://127.0.0.1:8042/dicom-web")),
    ],
)
def test_good_ones(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "host:104", "PACS@host", "PACS@host:", "PACS@:104", "@host:104", "PACS@host:0",
        "PACS@host:65536", "PACS@host:١", "PACS@ho st:104", "PACS@-host:104", "PACS@../x:104",
        "SEVENTEENLETTERS_@host:104", "BACK\\SLASH@host:104", "NEW\nLINE@host:104",
        "    @host:104", "ftp://host/x", "file:///etc/passwd", "https://", "http://host:port/x",
        "http://host/x?y=1", "http://host/#x", "http://ho st/", "https://[::1/x",
    ],
)  # fmt: skip
def test_bad_ones_are_refused_by_name(text):
    with pytest.raises(InputError, match=r"is no (PACS|DICOMweb) address|is no AE title"):
        parse_address(text)


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(InputError, match="--password-file") as caught:
        parse_address("https://me:s3cret@host/dicom-web")
    assert "s3cret" not in str(caught.value)


@given(TITLES, HOSTS, st.integers(1, 65535))
def test_what_is_printed_is_read_back(title, host, port):
    one = Node(title, host, port)
    assert parse_node(str(one)) == one


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_an_input_error(text):
    try:
        one = parse_address(text)
    except InputError:
        return
    assert parse_address(str(one)) == one
