"""Each bundle and each overlay: it parses, instantiates, states what it must, and runs a step."""

import difflib
import inspect
import json
import re
import shutil
from pathlib import Path

import jsonschema
import monai.bundle
import pytest
import torch
from bundle_runs import (
    NAMES,
    OVERLAYS,
    configs,
    monai_bundle,
    phantoms,
    random_weights,
    same_tensors,
    tiny,
    training,
    weights_of,
    window,
    workflow,
)
from ignite.engine import Events

from monai_tumor.files import sha256
from monai_tumor.paths import BUNDLES, CONFIGS, SCHEMA

# What MONAI and Ignite say of themselves when a whole workflow is built.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
LAYOUT = {"msd": "msd", "as_published": "msd", "brats2023": "brats2023"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six subjects in each layout: enough for five folds."""
    base = tmp_path_factory.mktemp("data")
    return {
        layout: phantoms(base / layout, layout, count=6)
        for layout in ("brats2021", "brats2023", "msd")
    }


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run from an empty folder, since bundles write to ./runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- what each bundle states


@pytest.mark.parametrize("bundle", NAMES)
def test_metadata_passes_the_shipped_schema_offline(
    bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*arguments: object, **named: object) -> None:
        raise AssertionError("tried to download")

    monkeypatch.setattr("monai.apps.utils._download_with_progress", no_network)
    meta = str(BUNDLES / bundle / "configs" / "metadata.json")
    monai.bundle.verify_metadata(
        meta_file=meta, filepath=str(SCHEMA), hash_val=sha256(SCHEMA), hash_type="sha256"
    )


def _without_version(meta: dict) -> None:
    del meta["version"]


def _dtype(meta: dict) -> None:
    meta["network_data_format"]["inputs"]["image"]["dtype"] = "float33"


def _channels(meta: dict) -> None:
    meta["network_data_format"]["outputs"]["pred"]["num_channels"] = "3"


def _no_pred(meta: dict) -> None:
    meta["network_data_format"]["outputs"] = {}


def _shape(meta: dict) -> None:
    meta["network_data_format"]["inputs"]["image"]["spatial_shape"] = ["eight", 8, 8]


def _range(meta: dict) -> None:
    meta["network_data_format"]["inputs"]["image"]["value_range"] = [0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_version, "'version' is a required property"),
        (_dtype, "'float33' is not one of"),
        (_channels, "'3' is not of type 'integer'"),
        (_no_pred, "is a required property|does not have enough properties|should be non-empty"),
        (_shape, "'eight' does not match|'eight' is not valid"),
        (_range, r"\[0\] is not valid"),
    ],
)
def test_schema_refuses_wrong_metadata(spoil, message: str) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    meta = json.loads((BUNDLES / "brats_segresnet/configs/metadata.json").read_text())
    spoil(meta)
    with pytest.raises(jsonschema.ValidationError, match=message):
        jsonschema.validate(meta, schema)


@pytest.mark.parametrize("bundle", NAMES)
def test_has_the_files_of_a_zoo_bundle(bundle: str) -> None:
    for name in (
        "configs/metadata.json",
        "configs/train.yaml",
        "configs/evaluate.yaml",
        "configs/inference.yaml",
        "configs/multi_gpu_train.yaml",
        "configs/logging.conf",
        "docs/README.md",
        "docs/data_license.txt",
        "LICENSE",
        "models",
    ):
        assert (BUNDLES / bundle / name).exists(), name


def test_bundles_differ_only_in_what_they_are() -> None:
    """One recipe: a fix in one bundle's config that is missing in another's fails here."""

    def changed(name: str, one: str, other: str) -> list[str]:
        texts = [(BUNDLES / b / "configs" / name).read_text().splitlines() for b in (one, other)]
        lines = difflib.unified_diff(*texts, n=0, lineterm="")
        return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]

    for bundle in ("brats_unetr", "brats_swin_unetr"):
        for name in ("train.yaml", "inference.yaml"):
            root = "bundle_root: \"$str(monai_tumor.paths.bundle_dir('{}'))\""
            assert changed(name, "brats_segresnet", bundle) == [
                "-" + root.format("brats_segresnet"),
                "+" + root.format(bundle),
            ]
        for name in ("evaluate.yaml", "multi_gpu_train.yaml", "logging.conf"):
            assert changed(name, "brats_segresnet", bundle) == []
    # The ensemble is a bundle whose network is its members: their options, losses and weights.
    for name, words in {
        "train.yaml": (
            "ensemble",
            "member",
            "in_turn",
            "disagreement",
            "side by side",
            "MSD brain",
        ),
        "inference.yaml": ("ensemble", "member", "in_turn", "disagreement", "Disagreement"),
        "evaluate.yaml": ("members",),
        "multi_gpu_train.yaml": (),
        "logging.conf": (),
    }.items():
        rest = [
            line
            for line in changed(name, "brats_segresnet", "brats_ensemble")
            if not any(word in line for word in words)
        ]
        same_role = ("bundle_dir('brats_segresnet')", 'loss_function: "@loss"')
        allowed = ("monai.losses.DeepSupervisionLoss", 'loss: "@loss"', "weight_mode: same")
        second = ("ToInputGridd", "SaveOnInputGridd", "@output_dir", "dtype: float32")
        second += ("@provenance", "keys: pred", "find_weights(@bundle_root")
        known = same_role + allowed + second
        assert [line for line in rest if not any(part in line for part in known)] == []


@pytest.mark.parametrize("bundle", NAMES)
def test_inference_prepares_images_as_training_does(bundle: str) -> None:
    """Transform by transform, so that an overlay of `load::N` means the same in both."""

    def of_images(name: str) -> list[dict]:
        file = configs(bundle, name)[0]
        steps = monai.bundle.ConfigParser.load_config_file(file)["load"]
        for step in steps:
            step.pop("allow_missing_keys", None)
            for key, image in (("keys", "image"), ("mode", "bilinear")):
                if isinstance(step.get(key), list):
                    assert step[key][0] == image
                    step[key] = image
        return steps

    assert of_images("train") == of_images("inference")
    assert len(of_images("train")) == 6


@pytest.mark.parametrize("bundle", NAMES)
def test_readme_names_only_options_that_there_are(bundle: str) -> None:
    readme = (BUNDLES / bundle / "docs" / "README.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", readme, flags=re.DOTALL))
    commands = [c for c in blocks.replace("\\\n", " ").splitlines() if "monai.bundle" in c]
    assert len(commands) >= 9
    for command in commands:
        verb = command.split("-m monai.bundle ")[1].split()[0]
        stems = re.findall(r"(\w+)\.yaml", command)
        assert "metadata.json" in command or stems, command
        parser = monai.bundle.ConfigParser()
        if stems:
            parser.read_config(configs(bundle, *stems))
        known = {*inspect.signature(getattr(monai.bundle, verb)).parameters, *(parser.config or {})}
        given = set(re.findall(r"--(\w+)", command.split("-m monai.bundle ")[1]))
        assert given <= known, command
        assert all(Path(path).is_file() for path in configs(bundle, *stems)), command


# -- instantiated


@pytest.mark.parametrize("bundle", NAMES)
def test_train_states_every_property(bundle: str, data: dict[str, Path], in_tmp: Path) -> None:
    made = workflow(configs(bundle, "train"), training(bundle, data["msd"]), "train")
    assert not made.check_properties()
    assert made.parser.get_parsed_content("train::trainer").state.max_epochs == 2
    assert len(made.train_dataset) == 5
    assert len(made.val_dataset) == 1


@pytest.mark.parametrize("bundle", NAMES)
def test_inference_states_every_property_and_loads_its_weights(
    bundle: str, data: dict[str, Path], in_tmp: Path
) -> None:
    weights = random_weights(bundle, in_tmp / "w.pt", seed=3)
    options = tiny(bundle, dataset_dir=str(data["brats2021"]), weights=str(weights))
    made = workflow(configs(bundle, "inference"), options, "infer")
    assert not made.check_properties()
    assert len(made.dataset) == 6
    evaluator = made.parser.get_parsed_content("evaluator")
    assert evaluator.data_loader is made.parser.get_parsed_content("dataloader")
    network = made.parser.get_parsed_content("network_def")
    assert not same_tensors(network.state_dict(), weights_of(weights))
    evaluator.fire_event(Events.STARTED)
    assert same_tensors(network.state_dict(), weights_of(weights))


@pytest.mark.parametrize("bundle", NAMES)
def test_evaluate_instantiates_after_train(
    bundle: str, data: dict[str, Path], in_tmp: Path
) -> None:
    weights = random_weights(bundle, in_tmp / "w.pt")
    options = training(bundle, data["brats2021"], weights=str(weights))
    made = workflow(configs(bundle, "train", "evaluate"), options, "infer")
    made.parser.get_parsed_content("validate::evaluator")
    assert len(made.parser.get_parsed_content("validate::dataset")) == 1


@pytest.mark.parametrize("bundle", NAMES)
def test_network_takes_and_gives_what_the_metadata_says(bundle: str) -> None:
    shape = "_meta_::network_data_format::inputs::image::spatial_shape"
    options = tiny(bundle) | {shape: window(bundle)}
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(BUNDLES / bundle / "configs/metadata.json"),
        config_file=configs(bundle, "inference"),
        device="cpu",
        **options,
    )
    wrong = options | {"_meta_::network_data_format::outputs::pred::num_channels": 4}
    with pytest.raises(ValueError, match="channel number `3` doesn't match: `4`"):
        monai.bundle.verify_net_in_out(
            net_id="network_def",
            meta_file=str(BUNDLES / bundle / "configs/metadata.json"),
            config_file=configs(bundle, "inference"),
            device="cpu",
            **wrong,
        )


@pytest.mark.parametrize("bundle", NAMES)
@pytest.mark.parametrize("studies", [1, 2, 3, 5])
def test_any_number_of_studies_is_validated_by_three_processes(bundle: str, studies: int) -> None:
    seen = []
    for rank in range(3):
        parser = monai.bundle.ConfigParser()
        parser.read_config(configs(bundle, "train", "multi_gpu_train"))
        sampler = parser["validate#sampler"]
        more = {"dataset": list(range(studies)), "num_replicas": 3, "rank": rank}
        seen.append(list(monai.bundle.ConfigParser({"s": sampler | more}).get_parsed_content("s")))
    assert {len(part) for part in seen} == {-(-studies // 3)}  # no process waits for another
    assert {study for part in seen for study in part} == set(range(studies))


# -- overlays


@pytest.mark.parametrize("overlay", ["msd", "brats2021", "brats2023"])
def test_overlay_of_a_data_set_leaves_the_scheme_to_the_layout(overlay: str) -> None:
    stated = monai.bundle.ConfigParser.load_config_file(CONFIGS / f"{overlay}.yaml")
    assert stated["output_scheme"] == overlay
    assert "scheme" not in stated


def _with_overlay(bundle: str, overlay: str, data: dict[str, Path], folder: Path) -> dict:
    options = training(bundle, data[LAYOUT.get(overlay, "brats2021")], max_epochs=1)
    if overlay == "finetune":
        options["initial_weights"] = str(random_weights(bundle, folder / "w.pt"))
    return options


@pytest.fixture
def restored_determinism():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("restored_determinism")
@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("bundle", NAMES)
def test_overlay_fits_bundle(
    bundle: str, overlay: str, data: dict[str, Path], in_tmp: Path
) -> None:
    options = _with_overlay(bundle, overlay, data, in_tmp)
    made = workflow(configs(bundle, "train", overlay), options, "train")
    assert not made.check_properties()
    made.parser.get_parsed_content("train::trainer")


@pytest.mark.usefixtures("restored_determinism")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_runs_a_step(overlay: str, data: dict[str, Path], in_tmp: Path) -> None:
    bundle = "brats_segresnet"
    options = _with_overlay(bundle, overlay, data, in_tmp) | {"validation": 0.5}
    options |= {"val_interval": 5, "output_dir": str(in_tmp / "out")}
    made = workflow(configs(bundle, "train", overlay), options, "train")
    trainer = made.parser.get_parsed_content("train::trainer")
    trainer.run()
    assert trainer.state.iteration >= 1
    assert torch.isfinite(trainer.state.output["loss"]).all()
    assert (in_tmp / "out" / "checkpoints" / "epoch_00001.pt").is_file()


@pytest.mark.parametrize(
    ("files", "option", "bias", "dropout"),
    [
        (["train"], {}, -4.0, None),
        (["train"], {"shallow_start": False}, None, None),
        (["train", "as_published"], {}, None, 0.2),
        (["train", "as_published", "evaluate"], {}, None, 0.2),
        (["inference", "as_published"], {}, None, 0.2),
    ],
)
@pytest.mark.parametrize("bundle", ["brats_segresnet", "brats_ensemble"])
def test_recipe_of_the_report_starts_as_it_did(
    bundle: str, files: list[str], option: dict, bias: float | None, dropout: float | None
) -> None:
    kind = "infer" if files[0] == "inference" else "train"
    made = workflow(configs(bundle, *files), tiny(bundle) | option, kind)
    network = made.parser.get_parsed_content("network_def")
    segresnet = network.members[0] if bundle == "brats_ensemble" else network
    assert segresnet.dropout_prob == dropout
    assert dropout is None or segresnet.dropout.p == dropout
    last = segresnet.conv_final[2].conv.bias.tolist()
    assert last == [bias] * 3 if bias is not None else all(abs(b) < 1 for b in last)


def test_recipe_of_the_report_segments_as_it_trains(data: dict[str, Path], in_tmp: Path) -> None:
    bundle, overlay = "brats_segresnet", "as_published"
    options = training(bundle, data["msd"], max_epochs=1, validation=0.5)
    made = workflow(configs(bundle, "train", overlay), options, "train")
    made.parser.get_parsed_content("train::trainer").run()
    best = in_tmp / "runs" / bundle / "checkpoints" / "model_best.json"

    options = tiny(bundle, input=str(data["msd"] / "imagesTr" / "BRATS_001.nii.gz"))
    made = workflow(configs(bundle, "inference", overlay), options, "infer")
    made.parser.get_parsed_content("evaluator").run()
    beside = in_tmp / "runs" / bundle / "predictions" / "BRATS_001_seg.json"

    trained, used = json.loads(best.read_text()), json.loads(beside.read_text())
    assert used["label_scheme"] == "msd_as_published"
    assert used["options"]["preprocessing"] == (
        "LoadStudyd, SelectModalitiesd, Orientationd, Spacingd, NormalizeIntensityd, "
        "CropForegroundd"
    )
    trained = trained["options"]["settings"]
    assert trained["preprocessing"] == used["options"]["preprocessing"]
    assert trained["spacing"] == "[1.0, 1.0, 1.0]"
    assert trained["window"] == "[32, 32, 32]"
    assert used["options"]["spacing"] == [1.0, 1.0, 1.0]


# -- mistakes, through `python -m monai.bundle`


def _refusal(done) -> str:
    """The one line that a failed command ends in, after MONAI's own log."""
    assert done.returncode != 0, done.stdout[-2000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr[-3000:]
    assert done.stderr.rstrip().endswith(lines[0])
    return lines[0]


def test_training_without_data_ends_in_one_line(tmp_path: Path) -> None:
    done = monai_bundle("run", "training", cwd=tmp_path, files=configs("brats_unetr", "train"))
    assert _refusal(done) == (
        "error: No data set to train on; name its folder with --dataset_dir, or a --datalist."
    )


def test_folder_without_studies_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    files = configs("brats_segresnet", "train")
    done = monai_bundle("run", cwd=tmp_path, files=files, options={"dataset_dir": "empty"})
    assert _refusal(done).startswith(f"error: No study found in {tmp_path / 'empty'}: expected MSD")


def test_no_weights_ends_in_one_line(tmp_path: Path, data: dict[str, Path]) -> None:
    files = configs("brats_swin_unetr", "inference")
    done = monai_bundle("run", cwd=tmp_path, files=files, options={"input": str(data["msd"])})
    line = _refusal(done)
    assert line.startswith("error: Bundle 'brats_swin_unetr' has no weights: neither runs/")
    assert line.endswith("Train it first (run training), or name a file with --weights.")


def test_missing_modality_ends_in_one_line(tmp_path: Path, data: dict[str, Path]) -> None:
    shutil.copytree(data["brats2021"] / "BraTS2021_00001", tmp_path / "BraTS2021_00001")
    (tmp_path / "BraTS2021_00001" / "BraTS2021_00001_flair.nii.gz").unlink()
    weights = random_weights("brats_segresnet", tmp_path / "w.pt")
    options = {"input": "BraTS2021_00001", "weights": str(weights)}
    files = configs("brats_segresnet", "inference")
    done = monai_bundle("run", cwd=tmp_path, files=files, options=options)
    assert _refusal(done) == (
        "error: Study 'BraTS2021_00001' has no t2f (FLAIR) image; found t1n, t1c, t2w in "
        "BraTS2021_00001/. Add BraTS2021_00001_flair.nii.gz, or leave the study out."
    )
