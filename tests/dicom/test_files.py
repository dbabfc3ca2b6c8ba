import gc
import os
import warnings
import zipfile

import pytest
from pydicom import dcmread
from pydicom.fileset import FileSet

from dicom.generator import Grid, classic, save, save_all
from monai_tumor.dicom import Limits, Reason, RefusalError, convert, files
from monai_tumor.dicom.files import Source, find, quiet, read_header

LIMITS = Limits()


def names(inputs, tmp_path, limits=LIMITS):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return [source.name for source in find(inputs, scratch, limits)]


def test_folders_are_walked_and_each_file_comes_once(tmp_path):
    folder = tmp_path / "in"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "x").write_bytes(b"1")
    (folder / "y").write_bytes(b"2")
    assert names([folder, folder / "y"], tmp_path) == ["a/b/x", "y"]


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "in"
    outside.mkdir()
    (outside / "secret").write_bytes(b"1")
    folder.mkdir()
    (folder / "file").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "gone").symlink_to(folder / "nowhere")
    (folder / "self").symlink_to(folder / "self")
    (folder / "long").symlink_to("x" * 300)
    (folder / "there").symlink_to(folder / "back")
    (folder / "back").symlink_to(folder / "there")
    os.mkfifo(folder / "pipe")  # reading one waits for ever
    assert names([folder], tmp_path) == []


def test_an_entry_that_nobody_may_look_at_keeps_nothing_else_out(tmp_path, monkeypatch):
    """As in a folder that may be listed and not entered."""
    (tmp_path / "in").mkdir()
    for name in ("a", "closed", "z"):
        (tmp_path / "in" / name).write_bytes(b"1")
    looked = files.Path.is_dir

    def is_dir(path):
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return looked(path)

    monkeypatch.setattr(files.Path, "is_dir", is_dir)
    refused = []
    found = find([tmp_path / "in"], None, LIMITS, lambda path, why: refused.append((path, why)))
    assert [source.name for source in found] == ["a", "z"]
    ((path, why),) = refused
    assert path.name == "closed"
    assert why.reason is Reason.UNREADABLE
    assert "cannot be looked at: Permission denied" in str(why)
    with pytest.raises(RefusalError, match="cannot be looked at"):
        find([tmp_path / "in"], None, LIMITS)


def test_a_zip_decides_no_path(tmp_path):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../../escaped.dcm", b"1")
        opened.writestr("/absolute.dcm", b"2")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        opened.writestr(link, "/etc/passwd")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sources = find([archive], scratch, LIMITS)
    assert [s.path.parent.parent for s in sources] == [scratch] * 3
    assert not any(s.path.is_symlink() for s in sources)
    written = {p.name for p in tmp_path.rglob("*")}
    assert written == {"evil.zip", "scratch", "zip0", "0.dcm", "1.dcm", "2.dcm"}


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as opened:
        opened.writestr("x", b"\0" * (64 << 20))
    with pytest.raises(RefusalError, match="too-large"):
        names([archive], tmp_path, Limits(zip_ratio=500))
    assert sum(p.stat().st_size for p in (tmp_path / "scratch").rglob("*") if p.is_file()) == 0


def test_a_zip_of_many_small_bombs_is_refused_before_it_unpacks(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LARGE_ZIP", 4 << 20)
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for number in range(5):
            opened.writestr(str(number), bytes(1 << 20))
    with pytest.raises(RefusalError, match=r"unpacks to 5 MiB.*too-large"):
        names([archive], tmp_path)
    assert not list((tmp_path / "scratch").iterdir())
    assert len(names([archive], tmp_path, Limits(zip_whole_ratio=2000))) == 5


def test_a_broken_zip(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("x", os.urandom(5000))
    content = bytearray(archive.read_bytes())
    content[100:200] = bytes(100)
    archive.write_bytes(content)
    with pytest.raises(RefusalError, match="unreadable"):
        names([archive], tmp_path)


def test_limits_on_files_and_depth(tmp_path):
    folder = tmp_path / "in"
    (folder / "a" / "b" / "c").mkdir(parents=True)
    for n in range(3):
        (folder / str(n)).touch()
    with pytest.raises(RefusalError, match="too-large"):
        names([folder], tmp_path, Limits(files=2))
    with pytest.raises(RefusalError, match="nested-too-deep"):
        names([folder], tmp_path, Limits(folder_depth=2))


def test_what_is_not_there_and_what_is_not_dicom(tmp_path):
    with pytest.raises(RefusalError, match="not-found"):
        names([tmp_path / "nothing"], tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("plain text")
    with pytest.raises(RefusalError, match=r"notes\.txt is not a DICOM file"):
        convert(text, tmp_path / "out")
    assert read_header(Source(text, "notes.txt"), LIMITS) is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusalError, match="No DICOM in"):
        convert(tmp_path / "empty", tmp_path / "out")


def write_disc(folder, disc):
    with warnings.catch_warnings():
        # pydicom leaves its temporary folders to the garbage collector, which warns.
        warnings.simplefilter("ignore", ResourceWarning)
        files = FileSet()
        for path in sorted(folder.iterdir()):
            files.add(path)
        files.write(disc)
        del files
        gc.collect()


def test_dicomdir(tmp_path):
    save_all(classic(Grid()), tmp_path / "in")
    write_disc(tmp_path / "in", tmp_path / "disc")
    (one,) = convert(tmp_path / "disc" / "DICOMDIR", tmp_path / "out")
    assert one.shape == (10, 12, 7)
    # A disc copied in part: the list tells what is lacking.
    next(p for p in (tmp_path / "disc").rglob("*") if p.is_file() and p.name != "DICOMDIR").unlink()
    with pytest.raises(RefusalError, match="not-found"):
        convert(tmp_path / "disc" / "DICOMDIR", tmp_path / "out2")


def test_a_dicomdir_in_circles(tmp_path):
    save_all(classic(Grid(count=3)), tmp_path / "in")
    write_disc(tmp_path / "in", tmp_path / "disc")
    path = tmp_path / "disc" / "DICOMDIR"
    directory = dcmread(path)
    first = directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity
    for record in directory.DirectoryRecordSequence:
        record.OffsetOfTheNextDirectoryRecord = first
        record.OffsetOfReferencedLowerLevelDirectoryEntity = first
    directory.save_as(path)
    (one,) = convert(path, tmp_path / "out")
    assert one.shape[2] == 3
    for record in directory.DirectoryRecordSequence:
        record.ReferencedFileID = "DICOMDIR"  # lists nothing but itself
    directory.save_as(path)
    with pytest.raises(RefusalError, match="not an image"):
        convert(path, tmp_path / "out2")


@pytest.mark.parametrize(
    "listed", ["a\0b", "x" * 300, ["LOOP", "IM"], "/etc/passwd", ["..", "..", "etc", "passwd"]]
)
def test_a_dicomdir_that_lists_what_is_no_name(tmp_path, listed):
    save_all(classic(Grid(count=1)), tmp_path / "in")
    write_disc(tmp_path / "in", tmp_path / "disc")
    (tmp_path / "disc" / "LOOP").symlink_to("LOOP")
    path = tmp_path / "disc" / "DICOMDIR"
    with quiet():
        directory = dcmread(path)
        for record in directory.DirectoryRecordSequence:
            record.add_new("ReferencedFileID", "UC", listed)  # a type without a longest value
        directory.save_as(path)
    with pytest.raises(RefusalError, match=r"DICOMDIR.*\[(unsafe-path|not-found)\]"):
        convert(path, tmp_path / "out")


def test_dicomdir_that_points_outside(tmp_path):
    save_all(classic(Grid(count=2)), tmp_path / "in")
    write_disc(tmp_path / "in", tmp_path / "disc")
    listing = tmp_path / "disc" / "DICOMDIR"
    content = listing.read_bytes()
    target = b"\\".join(p.encode() for p in sorted((tmp_path / "disc").rglob("*"))[-1].relative_to(
        tmp_path / "disc").parts)  # fmt: skip
    assert target in content
    listing.write_bytes(content.replace(target, b"..\\SECRET".ljust(len(target))))
    with pytest.raises(RefusalError) as refused:
        convert(listing, tmp_path / "out")
    assert refused.value.reason is Reason.UNSAFE_PATH


def test_names_come_from_headers_but_paths_do_not(tmp_path):
    for number, description in enumerate(
        ["../../../etc/x", "a/b\\c:d*", ".hidden", "", "ümläut 脑"]
    ):
        grid = Grid(count=2)
        for k, ds in enumerate(classic(grid, SeriesDescription=description, SeriesNumber=5)):
            save(ds, tmp_path / "in" / f"{number}-{k}")
    written = convert(tmp_path / "in", tmp_path / "out")
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.nii.gz"))
    assert files == [
        "out/005.nii.gz",
        "out/005_a_b_c_d.nii.gz",
        "out/005_etc_x.nii.gz",
        "out/005_hidden.nii.gz",
        "out/005_umlaut.nii.gz",
    ]
    assert all(one.sidecar.is_file() for one in written)


def test_nothing_is_overwritten(tmp_path):
    save_all(classic(Grid(count=2)), tmp_path / "in")
    (first,) = convert(tmp_path / "in", tmp_path / "out")
    before = first.path.read_bytes()
    (second,) = convert(tmp_path / "in", tmp_path / "out")
    assert (first.path.name, second.path.name) == ("004_ax_t1.nii.gz", "004_ax_t1_2.nii.gz")
    assert first.path.read_bytes() == before == second.path.read_bytes()
