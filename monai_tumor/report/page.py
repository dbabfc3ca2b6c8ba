"""A report as one HTML file: no script, nothing loaded from elsewhere, made for A4 paper."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from monai_tumor.imaging.drawing import COLOURS, NAMES, Picture
from monai_tumor.imaging.measure import Measures
from monai_tumor.labels import Region
from monai_tumor.report.key_slices import LESIONS_A_ROW

_STYLE = Path(__file__).with_name("page.css")
_UNKNOWN = "not recorded"


def page(
    content: Mapping[str, Any],
    measures: Measures,
    rows: Mapping[str, Picture],
    lesions: Picture | None,
) -> str:
    """The page of a report; whatever a file or a user named is escaped.

    Args:
        content: the report, as its JSON.
        measures: of the same.
        rows: what a row of key slices shows -> the row.
        lesions: each enhancing lesion with its diameters; None where there is none.
    """
    sections = [
        '<div class="pair">\n',
        section("Volumes", _volumes(measures)),
        section("Quality", _flags(content["flags"]), _uncertainty(content["uncertainty"])),
        "</div>\n",
        section("Enhancing lesions", _lesions(measures)),
        section("Key slices", _legend(), *(figure(row, name) for name, row in rows.items())),
    ]
    if lesions is not None:
        caption = "Each enhancing lesion where it was measured, with both diameters"
        share = min(len(measures.enhancing), LESIONS_A_ROW) / LESIONS_A_ROW
        sections.append(section("Diameters", figure(lesions, caption, share)))
    sections.append(section("How it was made", _provenance(content)))
    return sheet(
        str(content["study"]),
        "segmentation report",
        "Brain tumour segmentation: measures",
        sections,
        use=str(content["intended_use"]),
    )


def sheet(name: str, kind: str, heading: str, sections: Iterable[str], *, use: str) -> str:
    """A whole page.

    Args:
        name: of what it is about; like the next two it is escaped.
        kind: of report, for the window's title.
        heading: of the page.
        sections: HTML, as `section` gives it.
        use: what it may be used for; stands on each printed page.
    """
    head = f'<div class="head"><b>{escape(name)}</b><span>{escape(use)}</span></div>'
    # The head of a table is printed again on each page, in every browser.
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(name)}: {escape(kind)}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<table class="sheet" role="presentation">
<thead><tr><td>{head}</td></tr></thead>
<tbody><tr><td>
<h1>{escape(heading)}</h1>
{"".join(sections)}</td></tr></tbody>
</table>
</body>
</html>
"""


def section(title: str, *parts: str) -> str:
    """A titled part of a page, of HTML."""
    return (
        f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(p for p in parts if p) + "</section>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """Cells are HTML; the first column is text, the others numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>\n"

    body = "".join(line(row, "td") for row in rows)
    end = f"<tfoot>{line(foot, 'td')}</tfoot>\n" if foot else ""
    return (
        f'<table class="data">\n<thead>{line(head, "th")}</thead>\n<tbody>{body}</tbody>\n{end}'
        "</table>\n"
    )


def _volumes(measures: Measures) -> str:
    rows = []
    for name, ml in measures.volumes_ml.items():
        count = measures.lesions.get(name)
        region = Region(name) if name in measures.lesions else None
        words = f"{_swatch(region)}{escape(NAMES[region])}" if region else escape(name)
        rows.append([words, f"{ml:.2f}", "" if count is None else str(count)])
    rule = f"Lesions are {measures.lesion_rule}. WT, TC and ET overlap; the tissues do not."
    return table(["", "volume, mL", "lesions"], rows) + note(rule)


def _lesions(measures: Measures) -> str:
    rules = (
        f"The largest components by volume, at most five. Measured in {measures.plane}, as RANO "
        "does: the longest diameter that stays within enhancing tumour, and the longest "
        "perpendicular that crosses it, in the slice where their product is largest. Measurable: "
        f"both at least {measures.plane.measurable_mm:.3g} mm, and seen on two slices or more. "
        "The sum is that of measurable lesions. Positions are in mm along the image's x (right), "
        "y (anterior) and z (superior)."
    )
    if not measures.enhancing:
        return "<p>None of the stated size.</p>\n" + note(rules)
    head = ["", "volume, mL", "longest, mm", "perpendicular, mm", "product, mm²", "measurable"]
    rows = []
    for number, lesion in enumerate(measures.enhancing, 1):
        place = ",&nbsp;".join(f"{value:.0f}" for value in lesion.centre_mm)
        rows.append(
            [
                f"ET {number}",
                f"{lesion.volume_ml:.2f}",
                f"{lesion.longest_mm:.1f}",
                f"{lesion.perpendicular_mm:.1f}",
                f"{lesion.product_mm2:.0f}",
                "yes" if lesion.measurable else "no",
                place,
            ]
        )
    total = f"{measures.sum_of_products_mm2:.0f}"
    foot = ["sum", "", "", "", total, "", ""]
    return table([*head, "centre x, y, z"], rows, foot) + note(rules)


def _flags(flags: Sequence[Mapping[str, str]]) -> str:
    if not flags:
        return "<p>No flag was raised. That does not prove that all is in order.</p>\n"
    items = "".join(
        f'<li><b class="{escape(flag["severity"])}">{escape(flag["severity"])}</b> '
        f"{escape(flag['name'])}: {escape(flag['found'])} {escape(flag['advice'])}</li>\n"
        for flag in flags
    )
    return f'<ul class="flags">\n{items}</ul>\n'


def _uncertainty(values: Mapping[str, float | None]) -> str:
    texts = {
        "mean_entropy": "mean entropy in tumour, bits (0 sure, 1 undecided)",
        "ensemble_disagreement": "mean disagreement of the members (0 none, 0.5 most)",
    }
    rows = [
        [words, f"{values[key]:.3f}"] for key, words in texts.items() if values[key] is not None
    ]
    return table(["", "value"], rows) if rows else ""


def _provenance(content: Mapping[str, Any]) -> str:
    made = content["provenance"]
    weights = made.get("weights") or []
    facts = {
        "bundle": " ".join(str(made[k]) for k in ("bundle", "bundle_version") if made.get(k)),
        "weights, SHA-256": "\n".join(f"{w['file']} {w['sha256']}" for w in weights),
        "mask, SHA-256": " ".join(str(v) for v in (made.get("mask") or {}).values()),
        "label scheme": content["measures"]["scheme"],
        "options": _pairs(made.get("options")),
        "versions": _pairs(made.get("versions")),
        "run time": f"{made['run_time_s']:.1f} s" if made.get("run_time_s") is not None else "",
        "written": made.get("written") or "",
    }
    optional = ("mask, SHA-256", "written")
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(text or _UNKNOWN))}</dd>\n"
        for name, text in facts.items()
        if text or name not in optional
    )
    return f"<dl>\n{rows}</dl>\n"


def _pairs(values: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in (values or {}).items())


def _legend() -> str:
    names = "".join(f"<span>{_swatch(r)}{escape(NAMES[r])}</span>" for r in COLOURS)
    marks = "R right, L left, A anterior, P posterior, S superior, I inferior (the patient's)"
    return f'<p class="legend">{names}</p>\n<p class="note">{escape(marks)}</p>\n'


def _swatch(region: Region) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[region])
    return f'<i class="swatch" style="background:{colour}"></i>'


def figure(picture: Picture, caption: str, share: float = 1) -> str:
    """A picture with a caption, over so much of the page's width."""
    data = io.BytesIO()
    picture.save(data, format="PNG")
    source = base64.b64encode(data.getvalue()).decode("ascii")
    words = escape(caption)
    size = f'width="{picture.width}" height="{picture.height}" style="--share: {share:.1%}"'
    return (
        f'<figure><img {size} alt="{words}" src="data:image/png;base64,{source}">'
        f"<figcaption>{words}</figcaption></figure>\n"
    )


def note(words: str) -> str:
    """A remark in small print; escaped."""
    return f'<p class="note">{escape(words)}</p>\n'
