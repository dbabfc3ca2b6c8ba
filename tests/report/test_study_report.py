"""The report against its schema, as a harmless page, and as a golden picture."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from monai_tumor import paths
from monai_tumor.errors import InputError
from monai_tumor.files import sha256
from monai_tumor.imaging.drawing import COLOURS, NAMES, PURPLE
from monai_tumor.imaging.measure import measure
from monai_tumor.imaging.quality import Flag, Severity
from monai_tumor.labels import SCHEMES
from monai_tumor.provenance import INTENDED_USE, record
from monai_tumor.report.key_slices import key_slices, lesion_slices
from monai_tumor.report.study_report import StudyReport, write_report

GOLDEN = Path(__file__).parent / "golden" / "report_slices.png"
AFFINE = np.diag([3.0, 4.0, 5.0, 1.0])
AFFINE[:3, 3] = (-73.5, -88, -67.5)


def study():
    """A head, brighter in front, with a lesion left and in front and a small one right behind."""
    grid = np.indices((50, 45, 28)).reshape(3, -1)
    x, y, z = (AFFINE[:3, :3] @ grid + AFFINE[:3, 3:]).reshape(3, 50, 45, 28)
    head = (x / 68) ** 2 + (y / 84) ** 2 + (z / 64) ** 2 < 1
    t1c = np.where(head, np.where(y > 0, 120.0, 90.0), 0)
    labels = np.zeros(head.shape, np.uint8)
    far = np.sqrt((x + 30) ** 2 + (y - 40) ** 2 + (z - 5) ** 2)
    labels[far < 26] = 2
    labels[((x + 30) / 22) ** 2 + ((y - 40) / 12) ** 2 + ((z - 5) / 14) ** 2 < 1] = 3
    labels[np.sqrt((x - 35) ** 2 + (y + 30) ** 2 + (z - 5) ** 2) < 9] = 3
    t1c[labels == 3] = 160
    t2f = np.where(labels > 0, 170.0, np.where(head, 80.0, 0))
    return {"t1c": t1c, "t2f": t2f}, labels


FLAG = Flag("border", Severity.WARNING, "It reaches R (3 voxels) & more.", "Look there.")


def a_report(name="Phantom 1", **more):
    _, labels = study()
    weights = Path(__file__)
    provenance = record("brats_ensemble", "0.1.0", weights, device="cpu") | {"run_time_s": 2.5}
    options = {"flags": (FLAG,), "provenance": provenance, "mean_entropy": 0.08}
    return StudyReport(name, measure(labels, AFFINE, "brats2023"), **(options | more))


def written(folder, report):
    images, labels = study()
    return write_report(folder, report, images=images, labels=labels, affine=AFFINE)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report"), a_report())


@pytest.fixture(scope="module")
def schema():
    return json.loads(paths.REPORT_SCHEMA.read_text())


def test_the_json_follows_the_shipped_schema(files, schema):
    jsonschema.Draft7Validator.check_schema(schema)
    content = json.loads(files[0].read_text())
    jsonschema.validate(content, schema)
    assert content == a_report().as_dict()
    assert content["study"] == "Phantom 1"
    assert content["provenance"]["weights"][0]["sha256"] == sha256(Path(__file__))
    assert len(content["measures"]["enhancing"]) == 2
    schemes = schema["definitions"]["measures"]["properties"]["scheme"]["enum"]
    assert set(schemes) == set(SCHEMES)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("version",), 2),
        (("measures", "volumes_ml", "ET"), -1),
        (("measures", "scheme"), "mine"),
        (("measures", "response"), "stable"),
        (("response",), "partial"),
        (("uncertainty", "mean_entropy"), 2),
        (("flags", 0, "severity"), "fatal"),
        (("provenance", "weights", 0, "sha256"), "no hash"),
    ],
)
def test_the_schema_refuses_what_is_wrong(schema, keys, value):
    content = a_report().as_dict()
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_a_study_without_tumour_has_a_report(tmp_path, schema):
    images, labels = study()
    nothing = StudyReport("empty", measure(labels * 0, AFFINE, "brats2023"))
    files = write_report(tmp_path, nothing, images=images, labels=labels * 0, affine=AFFINE)
    jsonschema.validate(json.loads(files[0].read_text()), schema)
    text = files[1].read_text()
    assert "None of the stated size." in text
    assert "No flag was raised." in text
    assert "mean entropy" not in text
    assert text.count("<img") == 3


def test_only_our_own_report_is_replaced(tmp_path):
    for file in ("report.html", "report.json"):
        (tmp_path / file).write_text("mine")
        with pytest.raises(InputError, match=f"{file} is there and is not a result of ours"):
            written(tmp_path, a_report())
        assert (tmp_path / file).read_text() == "mine"
        (tmp_path / file).unlink()
    assert written(tmp_path, a_report()) == written(tmp_path, a_report())


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._style = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data):
        if not self._style:
            self.words += data


def test_the_page_says_what_was_found(files):
    page = Page(files[1].read_text())
    for lesion in a_report().measures.enhancing:
        assert f"{lesion.longest_mm:.1f}" in page.words
        assert f"{lesion.product_mm2:.0f}" in page.words
    for words in ("Phantom 1", INTENDED_USE, FLAG.found, "brats_ensemble 0.1.0", "2.5 s", "0.080"):
        assert words in page.words, words
    assert sha256(Path(__file__)) in page.words
    assert all(name in page.words for name in NAMES.values())
    for colour in COLOURS.values():
        assert "#{:02x}{:02x}{:02x}".format(*colour) in files[1].read_text()
    assert not re.search(r"stage|progress|response|stable|remission|grade", page.words, re.I)


def test_the_page_loads_nothing_and_runs_nothing(files):
    page = Page(files[1].read_text())
    assert "script" not in {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "a")
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
        if tag == "img":
            assert attributes["alt"]
    assert not re.search(r"url\(|@import|https?:", files[1].read_text())
    policy = [a["content"] for _, a in page.tags if a.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


EVIL = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


def test_text_from_outside_is_harmless(tmp_path):
    flag = Flag(EVIL, Severity.NOTE, EVIL, EVIL)
    provenance = {
        "bundle": EVIL,
        "weights": [{"file": EVIL, "sha256": EVIL}],
        "mask": {"file": EVIL, "sha256": "0" * 64},
        "options": {EVIL: EVIL},
        "versions": {EVIL: EVIL},
    }
    report = a_report(EVIL, flags=(flag,), provenance=provenance)
    plain, evil = a_report(), written(tmp_path, report)[1].read_text()
    tags = [tag for tag, _ in Page(evil).tags]
    assert "script" not in tags
    assert tags.count("img") == 4  # three rows of key slices, and the diameters
    assert "<script" not in evil
    # Title, head, flag (3), bundle, weights (2), mask, options (2), versions (2).
    assert Page(evil).words.count(EVIL) == 13
    assert str(plain).startswith("Phantom 1\nvolumes  WT")


def test_the_text_has_measures_and_flags():
    lines = str(a_report(disagreement=0.02)).splitlines()
    assert lines[0] == "Phantom 1"
    assert lines[-3:] == ["mean entropy  0.080 bits", "ensemble disagreement  0.020", str(FLAG)]


def slices():
    images, labels = study()
    options = {"affine": AFFINE, "scheme": "brats2023"}
    rows = key_slices(images, labels, **options)
    lesions = measure(labels, AFFINE, "brats2023").enhancing
    return rows, lesion_slices(images["t1c"], labels, lesions, **options)


def test_golden_picture(tmp_path):
    """Looked at: front up, the larger lesion left (on the right), diameters to its outline."""
    rows, lesions = slices()
    assert list(rows) == ["t1c", "t1c without contours", "t2f"]
    picture = Image.new("RGB", (rows["t1c"].width, rows["t1c"].height + lesions.height))
    picture.paste(rows["t1c"])
    picture.paste(lesions, (0, rows["t1c"].height))
    made = tmp_path / "report_slices.png"
    picture.save(made)
    golden = np.asarray(Image.open(GOLDEN).convert("RGB")).astype(int)
    pixels = np.asarray(picture).astype(int)
    assert pixels.shape == golden.shape
    assert np.abs(pixels - golden).mean() < 1, f"look at {made}, and copy it over if good"
    assert np.abs(pixels[:, ::-1] - golden).mean() > 5


def test_diameters_are_drawn_where_they_were_measured():
    """Without contours and on flat grey, the purple lines alone differ from a plain panel."""
    _, labels = study()
    flat = np.full(labels.shape, 50.0)
    lesion = measure(labels, AFFINE, "brats2023").enhancing[0]
    options = {"affine": AFFINE, "scheme": "brats2023"}
    pixels = np.asarray(lesion_slices(flat, labels, [lesion], **options)).astype(int)
    inner = pixels[50:-34, 24:-24]
    drawn = np.abs(inner - PURPLE).max(-1) < 30
    ys, xs = np.nonzero(drawn)
    ends = np.array(lesion.longest_ends_mm)
    wide, deep = np.abs(ends[1] - ends[0])[:2]
    assert wide > 2 * deep  # the lesion is long from right to left
    assert np.ptp(xs) > 2 * np.ptp(ys) * 0.8


def test_slices_of_no_lesions():
    images, labels = study()
    assert lesion_slices(images["t1c"], labels, [], affine=AFFINE, scheme="brats2023") is None
