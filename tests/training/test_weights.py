import hashlib
import json
import logging
import pickle
import re

import pytest
import torch
from ignite.engine import Engine
from safetensors.torch import save_file
from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.files import write_json
from monai_tumor.networks import MeanEnsemble
from monai_tumor.training import Attach, LoadWeights, find_weights, load_weights, weights
from monai_tumor.training.weights import read_weights


def network(seed=0, width=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(1, width, 1), nn.BatchNorm3d(width))


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def message(text):
    return f"^{re.escape(text)}$"


@pytest.fixture
def saved(tmp_path):
    """A network and its state dict on disk."""
    made = network(seed=1)
    torch.save(made.state_dict(), tmp_path / "model.pt")
    return made, tmp_path / "model.pt"


# -- find_weights


def test_trained_weights_come_before_shipped_ones(tmp_path):
    bundle, run = tmp_path / "b", tmp_path / "run"
    shipped = bundle / "models" / "model.safetensors"
    trained = run / "checkpoints" / "model_best.pt"
    for path in (shipped, trained):
        path.parent.mkdir(parents=True)
    expected = (
        f"Bundle 'b' has no weights: neither {trained} nor {shipped} exists. "
        "Train it first (run training), or name a file with --weights."
    )
    with pytest.raises(BundleError, match=message(expected)):
        find_weights(bundle, run)
    shipped.touch()
    assert find_weights(bundle, str(run)) == str(shipped)
    trained.touch()
    assert find_weights(str(bundle), run) == str(trained)


def test_an_ensemble_takes_its_members_weights(tmp_path):
    members = [tmp_path / "bundles" / name for name in ("one", "two")]
    for folder in members:
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "metadata.json").write_text("{}")
        (folder / "models").mkdir()
    runs = tmp_path / "runs"
    trained = runs / "one" / "checkpoints" / "model_best.pt"
    trained.parent.mkdir(parents=True)
    trained.touch()
    given = [str(m) for m in members]
    with pytest.raises(BundleError, match=r"^Bundle 'two' has no weights: "):
        find_weights(tmp_path / "e", runs / "e", given)
    (members[1] / "models" / "model.safetensors").touch()
    found = find_weights(tmp_path / "e", runs / "e", given)
    assert found == [str(trained), str(members[1] / "models" / "model.safetensors")]

    twice = [given[0], given[0]]
    expected = (
        f"The ensemble names a bundle twice ({given[0]}, {given[0]}); which weights are which "
        "fold's cannot be known. Name one file a member with --weights."
    )
    with pytest.raises(BundleError, match=message(expected)):
        find_weights(tmp_path / "e", runs / "e", twice)

    own = runs / "e" / "checkpoints" / "model_best.pt"  # trained together
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_weights(tmp_path / "e", runs / "e", given) == str(own)
    assert find_weights(tmp_path / "e", runs / "e", twice) == str(own)


# -- read_weights


@pytest.mark.parametrize("key", [None, "network", "model", "state_dict"])
def test_plain_checkpoints_and_nested_ones(tmp_path, key):
    made, path = network(seed=1), tmp_path / "model.pt"
    state = made.state_dict()
    torch.save(state if key is None else {key: state, "epoch": 3}, path)
    loaded = network()
    load_weights(loaded, path)
    assert same(loaded, made)


def test_names_from_a_distributed_run(tmp_path):
    made, path = network(seed=1), tmp_path / "model.pt"
    torch.save({f"module.{k}": v for k, v in made.state_dict().items()}, path)
    loaded = network()
    load_weights(loaded, str(path))
    assert same(loaded, made)


def test_safetensors_in_half_precision_into_float32(tmp_path):
    made, path = network(seed=1), tmp_path / "model.safetensors"
    half = {k: v.half() if v.is_floating_point() else v for k, v in made.state_dict().items()}
    save_file(half, path)
    loaded = network()
    load_weights(loaded, path)
    assert loaded[0].weight.dtype is torch.float32
    assert torch.equal(loaded[0].weight, half["0.weight"].float())
    assert loaded[1].num_batches_tracked.dtype is torch.int64


def test_no_file(tmp_path):
    expected = f"No weights at {tmp_path / 'x.pt'}; name a file with --weights."
    with pytest.raises(BundleError, match=message(expected)):
        read_weights(tmp_path / "x.pt")


class Attack:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))  # would make the file


@pytest.mark.parametrize("raw", [True, False])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, raw):
    mark, path = tmp_path / "was_here", tmp_path / "model.pt"
    content = {"state_dict": {"0.weight": torch.zeros(1)}, "more": Attack(mark)}
    if raw:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(BundleError, match=r"is not a file of weights that can be loaded safely"):
        read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04"])
def test_something_else_than_weights(tmp_path, ending, content):
    path = tmp_path / f"model.{ending}"
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        read_weights(path)
    assert re.fullmatch(
        re.escape(f"{path} is not a file of weights that can be loaded safely (")
        + r"\w+"
        + re.escape("). Give a .safetensors file or a checkpoint of plain tensors."),
        str(caught.value),
    )


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"model": {"a": torch.ones(1), "b": 2}}])
def test_no_dictionary_of_tensors(tmp_path, content):
    path = tmp_path / "model.pt"
    torch.save(content, path)
    expected = f"{path} holds no dictionary of tensors; give a state dict."
    with pytest.raises(BundleError, match=message(expected)):
        read_weights(path)


def test_the_recorded_hash_must_be_the_files(saved):
    _, path = saved
    beside = path.with_suffix(".json")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(json.dumps({"sha256": digest}))
    assert set(read_weights(path)) == set(network().state_dict())
    beside.write_text(json.dumps({"metric": 0.5}))  # records none
    read_weights(path)
    beside.write_text(json.dumps({"sha256": "0" * 64}))
    expected = (
        f"{path} is not the file that model.json records (SHA-256 differs): "
        "it is damaged or was replaced. Fetch or train it again."
    )
    with pytest.raises(BundleError, match=message(expected)):
        read_weights(path)
    beside.write_text("{")
    with pytest.raises(BundleError, match=r"model\.json is not JSON \(.*\); remove or mend it\.$"):
        read_weights(path)


# -- load_weights


@pytest.mark.parametrize(
    ("change", "counts", "first"),
    [
        (lambda s: s.pop("0.bias"), (1, 0, 0), "0.bias"),
        (lambda s: s.update(extra=torch.ones(1)), (0, 1, 0), "extra"),
        (lambda s: s.update({"1.weight": torch.ones(4)}), (0, 0, 1), "1.weight"),
        (lambda s: (s.pop("1.bias"), s.update(x=torch.ones(1))), (1, 1, 0), "1.bias"),
    ],
)
def test_weights_of_another_network(saved, change, counts, first):
    made, path = saved
    state = made.state_dict()
    change(state)
    torch.save(state, path)
    missing, unknown, unequal = counts
    expected = (
        f"{path} belongs to another network: {missing} tensors missing, {unknown} unknown, "
        f"{unequal} of another shape (first: {first}). Give this bundle's weights."
    )
    target = network(seed=2)
    with pytest.raises(BundleError, match=message(expected)):
        load_weights(target, path)
    assert same(target, network(seed=2))  # nothing half loaded


def test_one_file_a_member(tmp_path):
    members = [network(seed=n) for n in (1, 2)]
    paths = []
    for number, made in enumerate(members):
        paths.append(tmp_path / f"{number}.pt")
        torch.save(made.state_dict(), paths[-1])
    ensemble = MeanEnsemble([network(), network()])
    load_weights(ensemble, paths)
    assert same(ensemble.members[0], members[0])
    assert same(ensemble.members[1], members[1])
    with pytest.raises(
        BundleError,
        match=message("3 files of weights for a network with 2 members; give one file a member."),
    ):
        load_weights(ensemble, [*paths, paths[0]])
    with pytest.raises(BundleError, match=r"^2 files of weights for a network with no members; "):
        load_weights(network(), paths)


# -- LoadWeights


def test_the_handler_loads_network_and_average_and_says_which_file(saved, caplog):
    made, path = saved
    target, average = network(), network(seed=3)
    engine = Engine(lambda engine, batch: None)
    wrapped = nn.Module()
    wrapped.module = average  # as DistributedDataParallel wraps it
    Attach(LoadWeights(target, path, wrapped)).attach(engine)
    assert not same(target, made)
    with caplog.at_level(logging.INFO, logger=weights.__name__):
        engine.run([0])
    assert same(target, made)
    assert same(average, made)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert caplog.messages == [f"weights: {path} (SHA-256 {digest})"]


def test_the_handler_with_a_list_and_with_none(saved, caplog):
    made, path = saved
    ensemble = MeanEnsemble([network(), network(seed=5)])
    engine = Engine(lambda engine, batch: None)
    LoadWeights(ensemble, [path, path]).attach(engine)
    with caplog.at_level(logging.INFO, logger=weights.__name__):
        engine.run([0])
    assert len(caplog.messages) == 2
    assert all(same(one, made) for one in ensemble.members)

    untouched = network()
    engine = Engine(lambda engine, batch: None)
    LoadWeights(untouched, None).attach(engine)
    engine.run([0])
    assert same(untouched, network())


def test_weights_of_another_split_are_not_scored(saved):
    made, path = saved
    trained = {"fold": 0, "studies": "4 + 2 (aa)"}
    path.with_suffix(".json").write_text(json.dumps({"split": trained}))
    target = network()

    def load(expect):
        engine = Engine(lambda engine, batch: None)
        LoadWeights(target, path, expect=expect).attach(engine)
        engine.run([0])

    expected = (
        f"{path} was trained with fold 0, this run has fold 1: it may have seen the cases to "
        "score. Give the options it was trained with; to score it on other data, segment them and "
        "run monai-tumor evaluate."
    )
    with pytest.raises(BundleError, match=message(expected)):
        load({"fold": 1, "studies": "4 + 2 (bb)"})
    assert not same(target, made)
    load(trained)
    assert same(target, made)


@pytest.mark.parametrize(
    ("name", "trained", "now"),
    [
        ("spacing", "[1.5, 1.5, 1.5]", [1.0, 1.0, 1.0]),
        ("window", [112, 128, 112], (96, 96, 96)),
        ("preprocessing", "LoadStudyd, NormalizeBraind", "LoadStudyd"),
    ],
)
def test_weights_for_images_prepared_otherwise_are_refused(saved, name, trained, now):
    network, path = saved
    write_json(path.with_suffix(".json"), {"options": {"settings": {name: trained}}})
    load = LoadWeights(network, path, prepared={name: now})
    with pytest.raises(BundleError, match=rf"was trained with {name} .*, this run has .*Leave"):
        load._load(Engine(lambda engine, batch: None))


def test_settings_are_compared_by_value(saved):
    network, path = saved
    write_json(path.with_suffix(".json"), {"options": {"settings": {"spacing": "[3, 3, 3]"}}})
    LoadWeights(network, path, prepared={"spacing": (3.0, 3.0, 3.0)})._load(
        Engine(lambda e, b: None)
    )
    for record in ({}, {"options": 1}, {"options": {"settings": {}}}):
        write_json(path.with_suffix(".json"), record)
        LoadWeights(network, path, prepared={"spacing": [1]})._load(Engine(lambda e, b: None))
