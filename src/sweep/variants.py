"""Which settings differ between a sweep's runs, and the runs that share all of them but the seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from src.sweep.runs import RunFiles, plain
from src.sweep.tables import setting_text

REPEATS = ("seed",)  # runs that differ in nothing else repeat one experiment, and may be averaged
_Order = tuple[int, float, str]


@dataclass(frozen=True)
class Variant:
    """Runs that differ in dropout, learning rate and seed alone."""

    label: str  # what sets them apart, "with attention, batch_size 8"; empty where nothing does
    runs: tuple[RunFiles, ...]
    place: int  # of its best run among all, counted from 0


def differing(runs: Sequence[RunFiles]) -> tuple[str, ...]:
    """The settings, besides dropout and lr, that differ between runs.

    results.json says which keys matter. A run without one joins in with its configuration, in which a key may
    be absent; between two runs with results, an absent key is a difference, too.
    """
    filed = [run for run in runs if run.has_results]
    keys = {key for run in filed for key in run.settings} - {"dropout", "lr"}

    def differs(key: str) -> bool:
        values = {order(run.settings.get(key)) for run in runs if run.has_results or key in run.settings}
        return len(values) > 1

    return tuple(sorted(filter(differs, keys)))


def variants_of(runs: Sequence[RunFiles], extra: Sequence[str]) -> tuple[Variant, ...]:
    """The variants among `runs` in the order of their settings; `extra` as `differing` gives it.

    `runs` stand in the order of their ranking. A run that has no results yet, and whose configuration lacks
    a key, joins the first variant that agrees with the keys it has.
    """
    keys = [key for key in extra if key not in REPEATS]
    groups: dict[tuple[_Order, ...], list[int]] = {}
    for number in sorted(range(len(runs)), key=lambda number: not runs[number].has_results):
        run = runs[number]
        values = tuple(order(run.settings.get(key)) for key in keys)
        if not run.has_results:
            known = [place for place, key in enumerate(keys) if key in run.settings]
            agree = (group for group in groups if all(group[place] == values[place] for place in known))
            values = next(agree, values)
        groups.setdefault(values, []).append(number)
    variants = []
    for values in sorted(groups):
        members = [runs[number] for number in sorted(groups[values])]
        filed = next((run for run in members if run.has_results), members[0])
        label = ", ".join(_phrase(key, filed.settings.get(key)) for key in keys)
        variants.append(Variant(plain(label, 120), tuple(members), min(groups[values])))
    return tuple(variants)


def first_variants(variants: Sequence[Variant], most: int) -> tuple[Variant, ...]:
    """Of `variants`, the `most` with the best runs, in the order in which they stand."""
    places = sorted(variant.place for variant in variants)[:most]
    return tuple(variant for variant in variants if variant.place in places)


def few_variants(runs: Sequence[RunFiles], extra: Sequence[str], most: int) -> tuple[Variant, ...]:
    """`runs` in at most `most` variants: by all settings in `extra`, or else by the first of them that is
    coarse enough. Empty where there are no two.
    """
    keys = [key for key in extra if key not in REPEATS]
    for chosen in (keys, *([key] for key in keys)):
        variants = variants_of(runs, chosen)
        if 1 < len(variants) <= most:
            return variants
    return ()


def order(value: object) -> _Order:
    """A sort key for settings of any type: numbers by size, text, nothing. 15 and 15.0 are equal."""
    if value is None:
        return (2, 0.0, "")
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return (0, float(value), "")
    return (1, 0.0, plain(value, 10_000))


def _phrase(key: str, value: object) -> str:
    """The setting in words; a switch that is on reads `with attention`."""
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {plain(key, 60).replace('_', ' ')}"
    return f"{plain(key, 60)} {'unset' if value is None else setting_text(value)}"
