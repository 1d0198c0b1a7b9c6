"""What was known when: a record of every report that showed test figures, and of what its study declared then.

Looks belong to comparisons, not to studies: a renamed file, another preset, seed or subset of variants finds the looks
at the same comparisons again. A comparison is known by the configurations of its two variants, without the folds, an
effect by those of all its variants and their weights. Runs whose test figures were shown are known whatever they are
compared by: another reference, other effects or strata make no fresh results of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from study.files import write
from study.hashing import digest
from study.ledger import layout
from study.ledger.reading import owner_of, read_bytes
from study.ledger.record import ClaimRecord, EffectRecord, StudyRecord, VariantRecord, claimed
from study.nested import value_at, with_value
from study.records import SCHEMA, DamagedError, from_json, to_json


@dataclass(frozen=True)
class Declared:
    """What a study declares about its comparisons: fixed before the results are shown, or else listed as changed."""

    rope: float
    """The least difference of interest, scaled."""
    alpha: float
    metric: str
    scope: str
    family: Mapping[str, str]
    """The names of the comparisons by their key."""
    claims: Mapping[str, str]
    """The claims as text by their key."""
    repetitions: tuple[int, ...]
    """The number of repetitions; the least and the most where the study adds them while a comparison is open."""
    folds: tuple[int, ...]
    """Empty where there is one split."""
    seed: int
    search: str
    """Trials and sampler, with a digest of all settings of the search; empty where nothing is searched."""

    @property
    def identity(self) -> list[object]:
        """All of it but names, which may change."""
        keys = sorted(self.family), sorted(self.claims)
        sizes = self.repetitions, self.folds, self.seed
        return [self.rope, self.alpha, self.metric, self.scope, *keys, *sizes, self.search]


@dataclass(frozen=True)
class Shown:
    """One comparison, or effect of the family, whose test figures a report shows."""

    key: str
    reference: str
    """The key of the reference's configuration; empty for an effect."""
    variant: str
    """The name of the variant, or of the effect, in this report."""
    data: tuple[str, ...]
    """The digests of the data, of every fold; of the same data where one is equal."""
    runs: tuple[str, ...]
    """The tested runs of all its variants, sorted."""
    n: int = 0
    """Paired repetitions, or folds; 0 without a verdict."""
    verdict: str = ""
    """Empty where there is none."""


@dataclass(frozen=True)
class Look:
    """One report that showed test figures."""

    time: str
    """In ISO format, in UTC."""
    study: str
    file: str
    declared: Declared
    comparisons: tuple[Shown, ...]
    schema: int = SCHEMA

    @property
    def id(self) -> str:
        """The identity of what was shown and declared: a report that is written again is the same look."""
        return digest([self.declared.identity, [[shown.key, shown.runs] for shown in self.comparisons]])

    @property
    def runs(self) -> frozenset[str]:
        """The runs whose test figures it showed."""
        return frozenset(run for shown in self.comparisons for run in shown.runs)


@dataclass(frozen=True)
class Looks:
    """All looks of a ledger, the earliest first."""

    looks: tuple[Look, ...] = ()
    damaged: tuple[Path, ...] = ()
    """Records that cannot be read: what they showed is not known."""

    def first(self, shown: Shown, arms: Collection[Collection[str]], declared: Declared) -> Look | None:
        """Return the first look at a comparison; None if no report showed it.

        It is at runs of every variant of the comparison, whatever that report compared them by, or at other runs by a
        study that declares the same family: the same question asked again, as with another seed. Fresh runs of another
        family are a study of its own.

        Args:
            shown: The comparison.
            arms: The tested runs of each of its variants.
            declared: What the study declares.
        """
        return next((look for look in self.looks if _is_look_at(look, shown, arms, declared)), None)


def _is_look_at(look: Look, shown: Shown, arms: Collection[Collection[str]], declared: Declared) -> bool:
    asks_same = look.declared.family.keys() == declared.family.keys()
    if not any(look.runs.isdisjoint(arm) for arm in arms):
        return True
    return any(
        is_same(other, shown) and (asks_same or not set(other.runs).isdisjoint(shown.runs))
        for other in look.comparisons
    )


def is_same(one: Shown, other: Shown) -> bool:
    """Return whether two looks are at one comparison, on the same data."""
    return one.key == other.key and not set(one.data).isdisjoint(other.data)


def read(root: Path) -> Looks:
    """Return the looks that the ledger `root` holds."""
    looks, damaged = [], []
    for path in sorted((root / layout.LOOKS).glob("*.json")):
        try:
            looks.append(from_json(Look, read_bytes(path) or b"", str(path), owner_of(path)))
        except DamagedError:
            damaged.append(path)
    return Looks(tuple(sorted(looks, key=lambda look: look.time)), tuple(damaged))


def save(root: Path, look: Look) -> None:
    """Write a look; one that is there keeps its time."""
    path = root / layout.LOOKS / f"{look.id}.json"
    if not path.exists():
        write(path, to_json(look, owner_of(path)))


def declared(study: StudyRecord, scope: str) -> Declared:
    """Return what a study declares about its comparisons."""
    keys = {variant.name: configuration(variant) for variant in study.variants}
    search = [study.trials, study.generation, study.sampler, study.pruner, study.reduction, study.first_epoch]
    search += [study.scope, study.shared_folds]
    return Declared(
        rope=study.rope,
        alpha=study.alpha,
        metric=study.metric,
        scope=scope,
        family={_contrast(keys, effect.weights): effect.name for effect in study.family},
        claims={_claim(keys, study, claim): claim.text for claim in study.claims},
        repetitions=(study.looks[0], study.looks[-1]) if study.looks else (study.repetitions,),
        folds=tuple(fold for fold in study.folds if fold is not None),
        seed=study.seed,
        search=f"{study.trials} trials, sampler {study.sampler} ({digest([study.space, *search], 6)})"
        if study.trials
        else "",
    )


def comparison(study: StudyRecord, variant: VariantRecord) -> str:
    """Return the key of the comparison of a variant with its reference."""
    return digest([configuration(_reference(study, variant)), configuration(variant)])


def _claim(keys: Mapping[str, str], study: StudyRecord, claim: ClaimRecord) -> str:
    effect, sign = claimed(claim, study.family)
    return _contrast(keys, effect.weights, sign)


def _contrast(keys: Mapping[str, str], weights: Mapping[str, float], sign: int = 1) -> str:
    """Return the key of a contrast of configurations; that of two variants is the key of their comparison."""
    if sorted(weights.values()) == [-1.0, 1.0]:
        ends = sorted(weights, key=lambda name: sign * weights[name])
        return digest([keys[name] for name in ends])
    return digest(sorted([keys[name], round(sign * weight, 9)] for name, weight in weights.items()))


def shown(study: StudyRecord, variant: VariantRecord, runs: Iterable[str]) -> Shown:
    """Return the comparison of a variant with its reference, by the tested runs of both."""
    reference = _reference(study, variant)
    return Shown(
        key=comparison(study, variant),
        reference=configuration(reference),
        variant=variant.name,
        data=tuple(sorted({*_data(reference), *_data(variant)})),
        runs=tuple(sorted(runs)),
    )


def shown_effect(study: StudyRecord, effect: EffectRecord, runs: Iterable[str]) -> Shown:
    """Return an effect of the study's family, by the tested runs of its variants; its sign does not count."""
    variants = [variant for variant in study.variants if variant.name in effect.weights]
    keys = {variant.name: configuration(variant) for variant in variants}
    return Shown(
        key=min(_contrast(keys, effect.weights, sign) for sign in (1, -1)),
        reference="",
        variant=effect.name,
        data=tuple(sorted(set().union(*map(_data, variants)))),
        runs=tuple(sorted(runs)),
    )


def configuration(variant: VariantRecord) -> str:
    """Return the key of a variant's configuration: equal for equal trainings, whatever their seed, fold and metric."""
    config = variant.template.counted
    if variant.fold_key and value_at(config, variant.fold_key) is not None:
        config = with_value(config, variant.fold_key, None)
    return digest([variant.template.task, variant.template.counts, config])


def _reference(study: StudyRecord, variant: VariantRecord) -> VariantRecord:
    return next(other for other in study.variants if other.name == variant.reference)


def _data(variant: VariantRecord) -> set[str]:
    return {variant.template.data_digest, *variant.digests.values()}
