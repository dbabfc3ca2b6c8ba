from monai_tumor.services.phantoms import phantoms


def test_counts_up_while_it_writes(tmp_path):
    seen = []
    result = phantoms(
        tmp_path,
        count=2,
        layout="brats2021",
        seed=4,
        size="small",
        on_written=lambda path, number, total: seen.append((path, number, total)),
    )
    assert [(number, total) for _, number, total in seen] == [(1, 2), (2, 2)]
    assert tuple(path for path, _, _ in seen) == result.paths
    assert str(result) == f"2 phantom studies in {tmp_path}, layout brats2021"
    assert result.as_dict()["layout"] == "brats2021"
