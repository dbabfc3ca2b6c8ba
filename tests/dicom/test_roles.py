from dataclasses import dataclass

import pytest

from monai_tumor.dicom.reasons import RefusalError
from monai_tumor.dicom.roles import Role, assign, classify
from monai_tumor.labels import Modality

T1N, T1C, T2W, T2F = Modality


@pytest.mark.parametrize(
    ("description", "modality"),
    [
        # English
        ("AX T1 PRE", T1N),
        ("t1_mprage_sag", T1N),
        ("AX T1 POST GD", T1C),
        ("SAG 3D T1 BRAVO +C", T1C),
        ("T1 w/o contrast", T1N),
        ("Ax T1 FSPGR C+", T1C),
        ("T1ce", T1C),
        ("AX T2 FSE", T2W),
        ("t2_tse_tra_512", T2W),
        ("Ax FLAIR", T2F),
        ("t2_space_dark-fluid_sag_p2_iso", T2F),
        ("AX T2 FLAIR +C", T2F),
        ("t1_vibe_tra_post", T1C),
        ("non-contrast T1", T1N),
        ("SAG T1 FLAIR", T1N),
        ("Ax T1FLAIR +C", T1C),
        ("T1 post GD PRE-OP", T1C),
        ("posterior fossa T2", T2W),
        ("t2_tirm_tra", None),
        # German, French, Spanish, Italian, Portuguese, Dutch
        ("T1 tra nativ", T1N),
        ("T1 MPRAGE nach KM", T1C),
        ("t1 se tra mit KM", T1C),
        ("t1 tse ohne KM", T1N),
        ("TIRM dunkle Flüssigkeit T2", T2F),
        ("AX T1 SE GADO", T1C),
        ("T1 sans injection", T1N),
        ("T1 avec injection", T1C),
        ("AX T1 SIN CONTRASTE", T1N),
        ("AXIAL T1 CON CONTRASTE", T1C),
        ("T1 senza mdc", T1N),
        ("T1 con mdc", T1C),
        ("T1 sem contraste", T1N),
        ("T1 zonder contrast", T1N),
        # Russian, Chinese, Japanese
        ("T1 с контрастом", T1C),
        ("T1 без контраста", T1N),
        ("T1 增强", T1C),
        ("T1 平扫", T1N),
        ("T1 造影", T1C),
        # None of the four
        ("Localizer", None),
        ("3-plane loc", None),
        ("ep2d_diff_3scan_trace_ADC", None),
        ("T2* GRE", None),
        ("SWI", None),
        ("T1 map", None),
        ("DSC perfusion post", None),
        ("TOF 3D", None),
        ("SUB T1", None),
    ],
)
def test_descriptions(description, modality):
    role = classify({"Modality": "MR", "SeriesDescription": description})
    assert role.modality is modality, role


@pytest.mark.parametrize(
    ("echo", "repetition", "inversion", "agent", "modality"),
    [
        (0.003, 0.009, None, "", T1N),
        (0.003, 2.3, 0.9, "Gadovist 7.5 ml", T1C),
        (0.012, 0.55, None, "NONE", T1N),
        (0.1, 4.5, None, "", T2W),
        (0.12, 9.0, 2.5, "Dotarem", T2F),
        (0.03, 3.0, None, "", None),
    ],
)
def test_timing_where_the_description_is_silent(echo, repetition, inversion, agent, modality):
    fields = {"Modality": "MR", "EchoTime": echo, "RepetitionTime": repetition}
    fields |= {"InversionTime": inversion} if inversion else {}
    role = classify(fields | {"ContrastBolusIngredient": agent})
    assert role.modality is modality, role


def test_tirm_is_flair_where_it_nulls_water():
    fields = {"SeriesDescription": "t2_tirm_tra", "EchoTime": 0.09, "RepetitionTime": 9.0}
    assert classify(fields | {"InversionTime": 2.5}).modality is T2F
    assert classify(fields | {"InversionTime": 0.16}).modality is None


def test_reasons_name_what_was_seen():
    role = classify({"SeriesDescription": "ax t1", "ContrastBolusIngredient": "Gadovist"})
    assert str(role) == "t1c: 't1' in the description, contrast agent 'Gadovist'"
    assert classify({"Modality": "CT", "SeriesDescription": "t1"}).reason == "modality is CT"
    assert classify({"SeriesDescription": "t1", "ImageType": ["DERIVED", "MIP"]}).modality is None
    enhanced = classify({"AcquisitionContrast": "FLUID_ATTENUATED"})
    assert enhanced.modality is T2F


@dataclass(frozen=True)
class Found:
    name: str
    role: Role
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    shape: tuple[int, ...] = (256, 256, 160)

    @property
    def series_uid(self):
        return f"1.2.{self.name}"


def test_the_finest_of_several_is_taken_and_a_choice_wins():
    thick = Found("thick", Role(T1C, ""), (0.5, 0.5, 5.0), (512, 512, 30))
    thin = Found("thin", Role(T1C, ""))
    times = Found("times", Role(T2W, ""), shape=(64, 64, 30, 100))
    refused = Found("", Role(T2F, ""))
    chosen = assign([thick, thin, times, refused])
    assert chosen == {T1C: thin}
    assert assign([thick, thin], {T1C: "thick", T1N: "1.2.thin"}) == {T1C: thick, T1N: thin}
    with pytest.raises(RefusalError, match="'nothing' names 0 series for t2w"):
        assign([thick, thin], {T2W: "nothing"})
