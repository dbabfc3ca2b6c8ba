from monai_tumor.training.facts import difference, other_split

SPLIT = {"fold": 0, "seed": 0, "label_schemes": ["msd"], "studies": "4 + 2 (aa)"}


def test_what_differs_is_named_with_both_values():
    assert difference({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "c": None}) == (
        "trained with b 2, c 3, this run has b 4, c None"
    )
    assert difference({"a": 1, "more": 2}, {"a": 1}) == ""
    assert difference(None, {"a": 1}) == difference({"a": 1}, None) == ""


def test_a_split_is_known_by_its_studies():
    assert other_split(SPLIT, SPLIT | {"seed": 1}) == ""  # such as a data set that moved
    assert other_split(SPLIT, SPLIT | {"fold": 1, "studies": "4 + 2 (bb)"}) == (
        "trained with fold 0, this run has fold 1"
    )
    assert other_split(SPLIT, SPLIT | {"studies": "5 + 2 (bb)"}) == (  # a data set that grew
        "trained with studies 4 + 2 (aa), this run has studies 5 + 2 (bb)"
    )
    assert other_split(SPLIT, SPLIT | {"label_schemes": ["brats2021"]}) == (
        "trained with label_schemes ['msd'], this run has label_schemes ['brats2021']"
    )
    assert other_split(None, SPLIT) == other_split(SPLIT, None) == ""
