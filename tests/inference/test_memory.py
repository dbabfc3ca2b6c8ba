"""Memory: what is given up for it, in which order, and what is said."""

import pytest
import torch
from monai.networks.nets import SegResNet

from monai_tumor.data import inference_items
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import BundleError
from monai_tumor.inference import Segmenter
from monai_tumor.inference.memory import (
    MemoryPlan,
    Need,
    bytes_of,
    is_out_of_memory,
    need_of,
    plan_within,
)
from monai_tumor.networks import MeanEnsemble

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
GB = 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * GB),
        ("3.5 gib", int(3.5 * 2**30)),
        ("512M", 512 * 10**6),
        ("512MiB", 2**29),
        (4 * GB, 4 * GB),
        ("1000", 1000),
    ],
)
def test_sizes(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "-4GB", "0", "4 bytes", "nan"])
def test_what_is_no_size(text):
    with pytest.raises(BundleError, match="is not a size; give one such as 4GB or 512MB"):
        bytes_of(text)


def test_what_is_given_up_and_in_which_order():
    plan, seen = MemoryPlan(windows=4), []
    while plan is not None:
        seen.append((plan.windows, plan.stitching))
        last, plan = plan, plan.smaller()
    assert seen == [(4, "device"), (2, "device"), (1, "device"), (1, "cpu")]
    assert last.as_dict()["reduced"] == [
        "out of memory: 2 instead of 4 windows at once",
        "out of memory: 1 instead of 2 windows at once",
        "out of memory: windows are stitched on the CPU",
    ]


NEED = Need(held=GB, weights=2 * GB, member=GB, window=GB, stitched=GB)


@pytest.mark.parametrize(
    ("gb", "plan"),
    [
        (12, MemoryPlan(8)),
        (8, MemoryPlan(4)),
        (5, MemoryPlan(1)),
        (4, MemoryPlan(1, in_turn=True)),
        (3, MemoryPlan(1, "cpu", in_turn=True)),
    ],
)
def test_what_fits_on_a_gpu(gb, plan):
    assert plan_within(gb * GB, NEED, MemoryPlan(windows=8), GPU) == plan


def test_a_single_network_has_nobody_to_follow():
    one = Need(held=GB, weights=GB, member=GB, window=GB, stitched=GB)
    assert plan_within(3 * GB, one, MemoryPlan(2), GPU) == MemoryPlan(1, "cpu")


def test_a_window_that_does_not_fit():
    with pytest.raises(BundleError, match=r"takes about 3\.0 GB and 2\.9 GB are allowed; its size"):
        plan_within(int(2.9 * GB), NEED, MemoryPlan(8), GPU)
    with pytest.raises(BundleError, match=r"takes about 5\.0 GB and 4\.9 GB are allowed"):
        plan_within(int(4.9 * GB), NEED, MemoryPlan(8), CPU)


def test_the_need_grows_with_window_and_precision():
    def network():
        return SegResNet(spatial_dims=3, in_channels=4, out_channels=3, init_filters=8)

    def need(shape, precision=None, made=None):
        return need_of(made or network(), shape, CPU, precision, (4, 100, 100, 100))

    single, large = need((4, 16, 16, 16)), need((4, 32, 32, 32))
    assert large.window == 8 * single.window
    assert need((4, 16, 16, 16), torch.bfloat16).window == single.window // 2
    assert single.weights == sum(p.numel() for p in network().parameters()) * 4
    assert single.stitched == 4 * 4 * 100**3
    # Largest: a layer of 8 channels in and 8 out at full size.
    assert single.window % (4 * 16 * 16**3) == 0
    both = need((4, 16, 16, 16), made=MeanEnsemble([network(), network()]))
    assert (both.weights, both.member) == (2 * single.weights, single.weights)
    assert both.window == single.window


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you ..."), True),
        (RuntimeError("Exception: std::bad_alloc"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_tells_that_memory_ran_out(error, is_it):
    assert is_out_of_memory(error) is is_it


class Greedy(torch.nn.Module):
    """A network that runs out of memory above so many windows at once."""

    def __init__(self, most):
        super().__init__()
        self.most, self.seen = most, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return x[:, :3]


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    [study] = write_phantoms(
        tmp_path_factory.mktemp("study"),
        count=1,
        layout="brats2023",
        make=lambda n: make_phantom(n, size="small"),
    )
    return inference_items(study)[0]


@pytest.fixture
def segmenter(tiny_bundle):
    options = {"trust": True, "device": "cpu", "backend": "torch", "max_memory": "8GB"}
    made = Segmenter(tiny_bundle, **options)  # with a bound, MONAI stitches
    made._parts.sliding.roi_size = (8, 8, 8)  # dozens of windows
    return made


def test_out_of_memory_halves_the_windows_and_says_so(segmenter, item, caplog):
    segmenter._plan = MemoryPlan(windows=8)
    segmenter._network = Greedy(most=3)
    prepared = segmenter.prepare(item)
    result = segmenter.finish(segmenter.predict(prepared))
    seen = segmenter._network.seen
    assert seen[:3] == [8, 4, 2]
    assert max(seen[3:]) == 2
    memory = result.provenance["memory"]
    assert (memory["windows"], memory["stitching"]) == (2, "device")
    assert memory["reduced"][0] == "out of memory: 4 instead of 8 windows at once"
    assert "out of memory: 2 instead of 4 windows at once" in caplog.text
    again = segmenter.finish(segmenter.predict(prepared))  # it stays with what worked
    assert again.provenance["memory"] == memory
    segmenter._network = Greedy(most=99)
    segmenter._plan = MemoryPlan(windows=8)
    at_once = segmenter.finish(segmenter.predict(prepared))
    assert (at_once.label_map == result.label_map).all()
    assert at_once.provenance["memory"]["reduced"] == []


def test_a_window_for_which_there_is_no_memory(segmenter, item):
    segmenter._plan = MemoryPlan(windows=2)
    segmenter._network = Greedy(most=0)
    prepared = segmenter.prepare(item)
    with pytest.raises(BundleError, match="ran out with one window of 32x32x32 voxels") as caught:
        segmenter.predict(prepared)
    assert "\n" not in str(caught.value)
    assert segmenter._network.seen == [2, 1, 1]
    assert segmenter._plan.stitching == "cpu"


def test_a_defect_is_not_taken_for_a_lack_of_memory(segmenter, item):
    segmenter._network = lambda x: (_ for _ in ()).throw(RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        segmenter.predict(segmenter.prepare(item))


def test_max_memory(tiny_bundle, item):
    options = {"trust": True, "device": "cpu", "backend": "torch"}
    free, bounded = (
        Segmenter(tiny_bundle, **options, **more) for more in ({}, {"max_memory": "2GB"})
    )
    assert (free(item).label_map == bounded(item).label_map).all()
    with pytest.raises(BundleError, match=r"takes about 1\.\d GB and 0\.9 GB are allowed"):
        Segmenter(tiny_bundle, **options, max_memory="900MB")
