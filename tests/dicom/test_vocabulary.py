import pytest

from monai_tumor.dicom.roles import classify
from monai_tumor.dicom.vocabulary import known_words


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Ax T1 SE post Gd", "Ax T1 SE post Gd"),
        ("t2_tse_tra_FLAIR Dr. Zorblax 2020-03-01", "t2 tse tra FLAIR"),
        ("Zorblax^John 4711 F 67y", ""),
        ("MRT Kopf nativ Station 3b", "MRT Kopf nativ"),
        ("", ""),
    ],
)
def test_only_known_words_stay(text, kept):
    assert known_words(text, ()) == kept


def test_a_name_that_is_a_known_word_goes():
    assert known_words("T1 Cor Brain", {"cor"}) == "T1 Brain"


@pytest.mark.parametrize(
    "text",
    [
        "ax t1 mprage post",
        "sag t2 flair",
        "t2 tse tra",
        "t1 w/o contrast",
        "T1 pre op post gd",
        "T1 non contrast",
        "T1 ohne KM",
        "t1_mpr_native",
    ],
)
def test_a_role_is_still_recognised(text):
    cleaned = known_words(text, ())
    assert classify({"SeriesDescription": cleaned}).modality is not None
    assert (
        classify({"SeriesDescription": cleaned}).modality
        == classify({"SeriesDescription": text}).modality
    )
