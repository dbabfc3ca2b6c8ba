"""Names of results: stable, distinct, within their folder."""

import string
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from monai_tumor.services.naming import Named, distinct


def test_folders_tell_studies_of_one_name_apart():
    named = [
        Named("S", Path("/in/a/S")),
        Named("S", Path("/in/b/x/S")),
        Named("T", Path("/in/b/T")),
        Named("s", Path("/in/c")),  # in upper and lower case files may be the same
    ]
    assert distinct(named) == ["a_S", "b_x_S", "T", "c_s"]
    assert distinct(named[::-1]) == ["c_s", "T", "b_x_S", "a_S"]
    assert distinct(named[:1]) == ["S"]


def test_what_folders_do_not_tell_apart_gets_a_digest():
    one, other = Named("S", Path("/in/S"), "1.2"), Named("S", Path("/in/S"), "1.3")
    names = distinct([one, other])
    assert len(set(names)) == 2
    assert all(name.startswith("S_") and len(name) == 10 for name in names)
    assert distinct([other, one]) == names[::-1]
    # a_S is also what another study is called
    taken = distinct(
        [Named("a_S", Path("/in/a_S")), *(Named("S", Path(f"/in/{x}/S")) for x in "ab")]
    )
    assert len(set(taken)) == 3
    assert taken[2] == "b_S"


def test_names_that_no_file_system_takes():
    names = distinct([Named("患者", Path("/in/1")), Named("病例", Path("/in/2"))])
    assert names == ["1_unnamed", "2_unnamed"]
    (long,) = distinct([Named("x" * 300, Path("/in"))])
    assert len(long) == 109
    assert distinct([Named("../a\nb", Path("/in"))]) == ["a_b"]


_PARTS = st.lists(st.text(string.ascii_letters + "._ /é\n", min_size=1, max_size=3), max_size=4)


@given(st.lists(st.tuples(st.text(max_size=4), _PARTS, st.text(max_size=2))))
def test_no_two_names_are_the_same(entries):
    named = [Named(n, Path("/", *(p.strip("/.") or "x" for p in ps)), d) for n, ps, d in entries]
    named = list(dict.fromkeys(named))
    names = distinct(named)
    assert len({name.lower() for name in names}) == len(named)
    assert all(name == Path(name).name and name not in (".", "..") for name in names)
    assert dict(zip(named, names, strict=True)) == dict(
        zip(named[::-1], distinct(named[::-1]), strict=True)
    )
