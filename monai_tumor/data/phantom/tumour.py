"""A tumour that grows in a bent anatomy: lobed bulk, necrotic core, rim, oedema along tracts."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import graph, measure

from monai_tumor.data.phantom.anatomy import Anatomy, Array, Mass, smooth_noise
from monai_tumor.errors import InputError

_TOTAL_ML = (20.0, 150.0)  # whole tumour, as in BraTS, of an adult head


@dataclass(frozen=True)
class TumourOptions:
    """What to grow; None leaves it to chance.

    Attributes:
        foci: how many; by chance one in four out of five phantoms, else two.
        necrosis: a necrotic core inside the rim; by chance absent in one of eight.
        enhancement: an enhancing rim; by chance absent in one of eight, and then the core is
            non-enhancing tumour.
    """

    foci: int | None = None
    necrosis: bool | None = None
    enhancement: bool | None = None


@dataclass(frozen=True)
class Plan:
    """A tumour before it grows: every choice made, volumes in mL of this phantom."""

    masses: list[Mass]
    core_ml: float
    oedema_ml: float
    necrosis: bool
    enhancement: bool


def plan(anatomy: Anatomy, options: TumourOptions, rng: np.random.Generator) -> Plan:
    """Draw the sites and volumes of a tumour.

    Raises:
        InputError: fewer than one or more than four foci.
    """
    if options.foci is not None and not 1 <= options.foci <= 4:
        raise InputError(f"A tumour cannot have {options.foci} foci; give 1 to 4.")
    chances = rng.random(3)  # drawn in any case, so that one option does not change the rest
    enhancement = bool(chances[0] > 1 / 8) if options.enhancement is None else options.enhancement
    necrosis = bool(chances[1] > 1 / 8) if options.necrosis is None else options.necrosis
    foci = 1 + int(chances[2] > 0.8) if options.foci is None else options.foci
    core = float(np.clip(np.exp(rng.normal(np.log(25), 0.6)), 8, 90))
    oedema = float(np.clip(np.exp(rng.normal(np.log(43), 0.5)), 10, 120))
    total = np.clip(core + oedema, _TOTAL_ML[0] * 1.05, _TOTAL_ML[1] * 0.95)
    scale = total / (core + oedema) * anatomy.unit**3
    shares = rng.dirichlet(np.full(foci, 4.0))
    sites = [anatomy.sites[rng.integers(len(anatomy.sites))]]
    while len(sites) < foci:
        away = np.linalg.norm(anatomy.sites - sites[0], axis=1) / anatomy.unit
        near = anatomy.sites[(away > 28) & (away < 60)]
        sites.append(near[rng.integers(len(near))])
    push = rng.uniform(0.05, 0.35)
    masses = [
        Mass(site, (core * scale * share * 1000 * 3 / (4 * np.pi)) ** (1 / 3), push)
        for site, share in zip(sites, shares, strict=True)
    ]
    return Plan(masses, core * scale, oedema * scale, necrosis and enhancement, enhancement)


def grow(
    shares: Array, places: Array, plan: Plan, unit: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Grow the tumour of `plan`.

    The bulk is a set of lobes with rough borders that displace what they meet. The oedema is what
    water reaches first from the bulk when it runs many times faster in white than in grey matter
    and never through CSF.

    Args:
        shares: float32, [3 (csf, gm, wm), X, Y, Z], voxels of 1 mm.
        places: int, [foci, 3]: voxels where the foci start.
        plan: what to grow.
        unit: mm of this grid for one mm of an adult head.
        rng: the source of chance.

    Returns:
        tumour core, whole tumour and enhancing tumour: bool, [X, Y, Z] each; the first and the
        last lie within the second.
    """
    brain, free = shares.sum(0) > 0.6, (shares[0] < 0.5) & (shares.sum(0) > 0.6)
    box = _around(places, reach=int(75 * unit) + 4, shape=brain.shape)
    core = _bulk(free[box], places - [s.start for s in box], plan, unit, rng)
    # Islands of CSF and gaps inside the bulk are tumour too.
    core = ndimage.binary_fill_holes(core) & brain[box]
    enhancing = _rim(core, plan, unit, rng) if plan.enhancement else np.zeros_like(core)
    whole = _oedema(shares[(slice(None), *box)], free[box], core, plan, unit, rng)
    out = [np.zeros(brain.shape, bool) for _ in range(3)]
    for target, part in zip(out, (core, whole | core, enhancing), strict=True):
        target[box] = part
    return out[0], out[1], out[2]


def _around(places: Array, reach: int, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of the grid within `reach` voxels of `places`."""
    low, high = places.min(0) - reach, places.max(0) + reach + 1
    return tuple(slice(max(0, a), min(n, b)) for a, b, n in zip(low, high, shape, strict=True))


def _first(cost: Array, count: int) -> Array:
    """bool: the `count` voxels of smallest finite `cost`."""
    finite = cost[np.isfinite(cost)]
    if finite.size <= count:
        return np.isfinite(cost)
    return np.asarray(cost <= np.partition(finite, count)[count])


def _bulk(free: Array, places: Array, plan: Plan, unit: float, rng: np.random.Generator) -> Array:
    """bool: `plan.core_ml` of lobes about `places` with rough borders, in voxels that are free."""
    where = np.indices(free.shape, dtype=np.float32, sparse=True)
    distance = np.full(free.shape, np.inf, np.float32)
    for place, mass in zip(places, plan.masses, strict=True):
        for lobe in range(rng.integers(1, 4)):
            offset = rng.normal(0, 0.35, 3) * mass.radius * (lobe > 0)
            radius = mass.radius * rng.uniform(0.6, 1.0)
            radii = radius * rng.uniform(0.85, 1.15, 3)
            squares = [((where[k] - place[k] - offset[k]) / radii[k]) ** 2 for k in range(3)]
            distance = np.minimum(distance, np.sqrt(squares[0] + squares[1] + squares[2]))
    rough = 0.13 * smooth_noise(rng, free.shape, max(11 * unit, 2.5))
    rough += 0.07 * smooth_noise(rng, free.shape, max(5 * unit, 1.5))
    distance = np.where(free, distance * np.exp(rough), np.inf)
    bulk = _first(distance, round(plan.core_ml * 1000))
    for place in places:
        bulk[tuple(place)] = True
    return _without_islands(bulk, len(places))


def _without_islands(mask: Array, keep: int) -> Array:
    """`mask` with its `keep` largest pieces only."""
    pieces = measure.label(mask, connectivity=1)
    sizes = np.bincount(pieces.ravel())[1:]
    return np.isin(pieces, np.argsort(sizes, kind="stable")[::-1][:keep] + 1)


def _rim(core: Array, plan: Plan, unit: float, rng: np.random.Generator) -> Array:
    """bool: the outer shell of `core`, thick and thin by chance; all of it without necrosis."""
    if not plan.necrosis:
        return core.copy()
    depth = ndimage.distance_transform_edt(np.pad(core, 1))[1:-1, 1:-1, 1:-1]
    # Never so thick that nothing is left inside.
    thickness = min(max(rng.uniform(2.5, 5.5) * unit, 1.7), 0.45 * depth.max())
    uneven = np.exp(0.4 * smooth_noise(rng, core.shape, max(9 * unit, 2.0)))
    shell = core & (depth <= np.maximum(thickness * uneven, 1.0)) & (depth < 0.8 * depth.max())
    nodules = smooth_noise(rng, core.shape, max(6 * unit, 2.0)) > 1.9
    return np.asarray(shell | (core & nodules & (depth < 0.6 * depth.max())))


def _oedema(
    shares: Array, free: Array, core: Array, plan: Plan, unit: float, rng: np.random.Generator
) -> Array:
    """bool: the `plan.oedema_ml` that water from `core` reaches first, most of it white matter."""
    step = 2 if unit > 0.6 else 1
    shape = tuple(-(-n // step) for n in core.shape)

    def coarse(values: Array) -> Array:
        even = [(0, size * step - n) for size, n in zip(shape, values.shape, strict=True)]
        return np.asarray(measure.block_reduce(np.pad(values, even), step, np.mean))

    white, grey, open_ = (coarse(v) for v in (shares[2], shares[1], free.astype(np.float32)))
    slow = 1 / (0.02 + white**2 + 0.06 * grey)
    slow *= np.exp(0.35 * smooth_noise(rng, shape, max(10 * unit / step, 2.0)))
    slow[(open_ < 0.5) & (coarse(core.astype(np.float32)) == 0)] = -1  # no way through
    starts = np.argwhere(coarse(core.astype(np.float32)) >= 0.5)
    arrival, _ = graph.MCP_Geometric(slow).find_costs([tuple(p) for p in starts])
    reached = arrival[np.isfinite(arrival)]
    arrival = np.where(np.isfinite(arrival), arrival, 2 * reached.max() + 1).astype(np.float32)
    if step > 1:
        arrival = ndimage.zoom(arrival, step, order=1, grid_mode=True, mode="nearest")
    arrival = arrival[tuple(slice(n) for n in core.shape)]
    dry = ~free | core | (arrival > reached.max())
    wet = _first(np.where(dry, np.inf, arrival), round(plan.oedema_ml * 1000)) | core
    smooth = ndimage.gaussian_filter(wet.astype(np.float32), 0.7) > 0.5
    return _without_islands((smooth & free) | core, len(plan.masses))
