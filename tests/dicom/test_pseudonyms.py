import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_tumor.dicom.pseudonyms import Pseudonyms, salt_of, shifted
from monai_tumor.errors import DicomError, InputError

ONE, OTHER = Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)


@given(st.from_regex(r"1\.2\.[1-9][0-9]{0,8}\.[1-9][0-9]{0,8}", fullmatch=True))
def test_uids_are_valid_consistent_and_depend_on_the_salt(old):
    new = ONE.uid(old)
    assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", new)
    assert len(new) <= 64
    assert new == Pseudonyms(b"1" * 32).uid(old) != OTHER.uid(old)


def test_registered_uids_stay():
    assert ONE.uid("1.2.840.10008.5.1.4.1.1.4") == "1.2.840.10008.5.1.4.1.1.4"
    assert ONE.uid("") == ""
    assert ONE.uid("1.2.840.10008.99999").startswith("2.25.")


def test_patients():
    assert re.fullmatch(r"ANON-[0-9A-F]{12}", ONE.patient("SECRET"))
    assert ONE.patient("SECRET") == ONE.patient("SECRET") != ONE.patient("SECRET2")
    assert ONE.patient("SECRET") != OTHER.patient("SECRET")
    days = [ONE.days(str(n)) for n in range(300)]
    assert min(days) >= 366
    assert max(days) <= 3650
    assert len(set(days)) > 200


@pytest.mark.parametrize(
    ("value", "vr", "days", "expected"),
    [
        ("20200301", "DA", 1, "20200229"),
        ("20200301", "DA", 0, "20200301"),
        ("20200301235959.123456+0100", "DT", 366, "20190301235959.123456+0100"),
        ("20200301", "DT", 1, "20200229"),
        ("235959.5", "TM", 99, "235959.5"),
        ("2020", "DT", 1, None),
        ("20201301", "DA", 0, None),
        ("20200301-20200302", "DA", 1, None),
        ("20200301Doe", "DT", 1, None),
        ("2020.03.01", "DA", 1, None),
        ("12:30", "TM", 1, None),
        ("Doe", "TM", 0, None),
        ("٢٠٢٠٠٣٠١", "DA", 0, None),
        ("00010101", "DA", 400, None),
        ("0900", "TM", 1, "0900"),
        ("05000101", "DA", 1, "04991231"),
    ],
)
def test_dates(value, vr, days, expected):
    assert shifted(value, vr, days) == expected


def test_salt_is_made_kept_and_private(tmp_path):
    path = tmp_path / "keys" / "salt"
    first = salt_of(path)
    assert len(first) == 32
    assert salt_of(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert salt_of(None) != salt_of(None)


def test_what_is_no_salt(tmp_path):
    (tmp_path / "salt").write_text("Doe^John\n")
    with pytest.raises(DicomError, match="holds no salt"):
        salt_of(tmp_path / "salt")
    (tmp_path / "short").write_text("00ff")
    with pytest.raises(DicomError, match="can be guessed"):
        Pseudonyms(salt_of(tmp_path / "short"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        salt_of(tmp_path / "file" / "salt")
