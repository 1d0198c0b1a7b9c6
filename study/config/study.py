"""A study as its author writes it, checked word by word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from study.errors import InputError, listing, nearest
from study.hashing import canonical_json, digest, file_digest
from study.config.registry import CONFIGURED, Config, Neutral, Range, Registry, neutral_value
from study.config.recipes import compose, recipe
from study.config.settings import Settings
from study.config.tables import Table, assign, fill, leaves, parse_setting, read_toml

DEFAULT_BASE = {
    "dataset": "faces",
    "network": "ifdd",
    "loss": "cross-entropy-context",
    "augmentation": "none",
}


@dataclass(frozen=True)
class Train:
    """How every run is trained; each key counts towards a run's identity."""

    epochs: Annotated[int, Range(1)] = 6
    batch_size: Annotated[int, Range(1)] = 32
    lr: Annotated[float, Range(0.0)] = 1e-3
    weight_decay: Annotated[float, Range(0.0)] = 1e-3
    warmup_epochs: Annotated[float, Range(0.0)] = 1.0
    clip_norm: Annotated[float, Range(0.0)] = 1.0
    schedule: Literal["cosine", "ifdd-released"] = "cosine"
    mixup: Annotated[float, Range(0.0)] = 0.0
    cutmix: Annotated[float, Range(0.0)] = 0.0
    mix_probability: Annotated[float, Range(0.0, 1.0)] = 1.0
    ema: Annotated[float, Range(0.0, 0.999999)] = 0.0
    stream: Annotated[int, Range(0)] = 0
    labels: Literal["true", "shuffled"] = "true"
    fit: Annotated[Literal["train", "train+val"], Neutral("train")] = "train"
    determinism: Annotated[Literal["strict", "warn", "off"], Neutral("warn")] = "warn"


@dataclass(frozen=True)
class Design:
    """Which cells of the factors' grid are trained."""

    kind: Literal["one-factor", "leave-one-out", "factorial"]
    reference: dict[str, Any]
    """The level of every factor that variants are compared with; those in `within` have none."""
    within: list[str] = field(default_factory=list)
    """Factors whose levels are strata: the design is made, and compared, inside each of them."""


@dataclass(frozen=True)
class Dimension:
    """One searched hyperparameter: a range (of integers where both ends are integers), or choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None


@dataclass(frozen=True)
class Search:
    """Optuna's budget, the same for every variant."""

    trials: Annotated[int, Range(0)] = 0
    generation: Annotated[int, Range(1)] = 4
    sampler: Literal["tpe", "gp", "random"] = "tpe"
    space: dict[str, Any] = field(default_factory=dict)
    pruner: Literal["none", "halving"] = "none"
    """``halving``: a trial stops after an epoch at which it is not among the best of earlier generations."""
    reduction: Annotated[int, Range(2)] = 3
    """Of how many trials one goes on, and by which factor the epochs grow at which that is asked."""
    first_epoch: Annotated[int, Range(1)] = 1
    """After which a trial may first be stopped."""
    storage: str = ""
    """URL of an Optuna storage that trials are mirrored to for its dashboard; it changes no number."""


@dataclass(frozen=True)
class Confirm:
    """Fresh trainings of each variant's chosen configuration, paired across variants by seed."""

    seeds: Annotated[int, Range(1)] = 5
    final: Literal["best", "train+val"] = "best"
    """Train on the train split and test the best epoch, or on train and selection and test the last one."""


@dataclass(frozen=True)
class Analysis:
    """What is compared, and how large a difference matters."""

    metric: Literal["war", "uar"] = "war"
    rope: Annotated[float, Range(0.0)] = 0.5
    alpha: Annotated[float, Range(0.001, 0.5)] = 0.05
    measures: list[str] = field(default_factory=list)
    """Of what the networks' parts do, taken of confirmed runs; asking for one trains nothing."""


@dataclass(frozen=True)
class Claim:
    """What the author expects, written before the results are known."""

    that: dict[str, Any]
    beats: dict[str, Any]


@dataclass(frozen=True)
class _Keys:
    title: str
    question: str
    factors: Any
    design: Any
    seed: Annotated[int, Range(0)] = 0
    recipe: str = ""
    base: Any = field(default_factory=dict)
    train: Any = field(default_factory=dict)
    search: Any = field(default_factory=dict)
    confirm: Any = field(default_factory=dict)
    analysis: Any = field(default_factory=dict)
    claims: Any = field(default_factory=list)


@dataclass(frozen=True)
class StudySpec:
    """One question, ready to be designed: every key known, every value of the right type."""

    name: str
    file: str
    title: str
    question: str
    seed: int
    base: Mapping[str, Any]
    train: Train
    design: Design
    factors: Mapping[str, tuple[Any, ...]]
    search: Search
    confirm: Confirm
    analysis: Analysis
    claims: tuple[Claim, ...]
    origins: Mapping[str, str]
    """Where each value came from, by dotted key."""


def load(path: Path, profile: str | None = None, changes: Sequence[str] = ()) -> StudySpec:
    """Read a study file; `profile` and `changes` (``key=value``) make another study of it.

    Values compose in one direction: defaults, study.toml's places, the recipe, the study, its profile, `changes`.

    Raises:
        InputError: Anything in the file that is not allowed; the message names the key.
    """
    tree = read_toml(path)
    profiles = tree.pop("profile", {})
    if not isinstance(profiles, Mapping) or not all(
        isinstance(table, Mapping) for table in profiles.values()
    ):
        raise InputError(f"{path}: profile: must hold one table a profile, such as [profile.smoke].")
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if profile is not None:
        if profile not in profiles:
            allowed = f"Allowed: {listing(profiles)}." if profiles else "The study has no profiles."
            raise InputError(f"{path}: no profile {profile!r}.{nearest(profile, profiles)} {allowed}")
        layers.append((f"profile {profile}", profiles[profile]))
    if changes:
        layers.append(("--set", dict(parse_setting(change) for change in changes)))

    origins = dict.fromkeys(leaves(tree), "study")
    for origin, layer in layers:
        for key, value in layer.items():
            assign(tree, key, value)
            origins = {old: where for old, where in origins.items() if not (old + ".").startswith(key + ".")}
            origins |= dict.fromkeys(leaves({key: value}), origin)
    if "recipe" in tree:
        tree, given = compose(tree, recipe(tree["recipe"], f"{path}: recipe"))
        origins |= dict.fromkeys(given, f"recipe {tree['recipe']}")
    return _checked(tree, path, name_of(path, profile, changes), origins)


def name_of(path: Path, profile: str | None = None, changes: Sequence[str] = ()) -> str:
    """Return the name of the study that a file, a profile and changes make: ``issm``, ``issm@smoke``."""
    marks = [profile] if profile else []
    if changes:
        marks.append(digest(sorted(changes), 6))
    return "@".join([path.stem, "-".join(marks)]) if marks else path.stem


def _checked(tree: Table, path: Path, name: str, origins: Mapping[str, str]) -> StudySpec:
    where = f"{path}:"
    keys = fill(_Keys, tree, where)
    claims = keys.claims
    if not isinstance(claims, list):
        raise InputError(f"{where} claims: must be written as [[claims]]. Got {claims!r} instead.")
    spec = StudySpec(
        name=name,
        file=str(path),
        title=keys.title,
        question=keys.question,
        seed=keys.seed,
        base=_base(keys.base, f"{where} base"),
        train=fill(Train, keys.train, f"{where} train"),
        design=fill(Design, keys.design, f"{where} design"),
        factors=_factors(keys.factors, f"{where} factors"),
        search=fill(Search, keys.search, f"{where} search"),
        confirm=fill(Confirm, keys.confirm, f"{where} confirm"),
        analysis=fill(Analysis, keys.analysis, f"{where} analysis"),
        claims=tuple(fill(Claim, claim, f"{where} claims[{place}]") for place, claim in enumerate(claims)),
        origins=origins,
    )
    dimensions(spec)
    _check_search(spec.search, f"{where} search")
    return spec


def _check_search(search: Search, where: str) -> None:
    """Raise InputError where keys of the search do not go together."""
    if search.pruner != "none" and not search.trials:
        raise InputError(
            f"{where}.pruner: there are no trials to prune; set search.trials, or pruner = 'none'."
        )
    if search.storage and "://" not in search.storage:
        raise InputError(
            f"{where}.storage: must be the URL of an Optuna storage, such as 'sqlite:////folder/trials.db'. "
            f"Got {search.storage!r} instead."
        )


def _base(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: must be a table. Got {given!r} instead.")
    for key in given:
        if key not in CONFIGURED:
            raise InputError(
                f"{where}.{key}: unknown key.{nearest(key, CONFIGURED)} Allowed: {listing(CONFIGURED)}."
            )
    return {**DEFAULT_BASE, **given}


def _factors(given: Any, where: str) -> dict[str, tuple[Any, ...]]:
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"{where}: must hold at least one factor, such as splitter = ['even-odd', 'issm'].")
    factors: dict[str, tuple[Any, ...]] = {}
    for key, levels in _factor_items(given):
        if not isinstance(levels, list) or not levels:
            raise InputError(
                f"{where}.{key}: must be a list of levels that is not empty. Got {levels!r} instead."
            )
        if odd := [
            level for level in levels if not isinstance(level, str | bool | int | float | Mapping | list)
        ]:
            raise InputError(
                f"{where}.{key}: a level must be a name, a table, a number or a list. Got {odd[0]!r}."
            )
        if len({canonical_json(level) for level in levels}) < len(levels):
            raise InputError(f"{where}.{key}: names a level twice: {levels!r}.")
        _check_kind(key, f"{where}.{key}")
        factors[key] = tuple(levels)
    return factors


def _check_kind(key: str, where: str) -> None:
    """Raise InputError where a dotted key begins with nothing that a study can vary."""
    kind, allowed = key.partition(".")[0], (*CONFIGURED, "train")
    if kind not in allowed:
        raise InputError(f"{where}: unknown key.{nearest(kind, allowed)} Allowed: {listing(allowed)}.")


def _factor_items(given: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return factors by dotted key, whether TOML wrote ``"train.lr"`` or ``train.lr``."""
    items: list[tuple[str, Any]] = []
    for key, value in given.items():
        items += (
            _factor_items(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
        )
    return items


def dimensions(spec: StudySpec) -> dict[str, Dimension]:
    """Return the search space by dotted key, in the order of the keys.

    Raises:
        InputError: A dimension that is neither a range nor a list of choices.
    """
    found: dict[str, Dimension] = {}
    for key, value in spec.search.space.items():
        where = f"{spec.file}: search.space.{key}"
        if not isinstance(value, list | Mapping):
            raise InputError(
                f"{where}: must be a list of choices, or a table with 'low' and 'high'. Got {value!r}."
            )
        table = {"choices": value} if isinstance(value, list) else value
        dimension = fill(Dimension, table, where)
        if dimension.choices is not None:
            if not dimension.choices or dimension.low is not None or dimension.high is not None:
                raise InputError(f"{where}: must be choices (at least one) or a range, not both.")
        elif dimension.low is None or dimension.high is None:
            raise InputError(f"{where}: must have 'low' and 'high', or 'choices'. Got {value!r} instead.")
        elif not dimension.low < dimension.high or (dimension.log and dimension.low <= 0):
            raise InputError(f"{where}: 'low' must be below 'high', and above 0 where log = true.")
        found[key] = dimension
    if found and not spec.search.trials:
        raise InputError(f"{spec.file}: search.trials: must be at least 1 where there is a search space.")
    if spec.search.trials and not found:
        raise InputError(f"{spec.file}: search.space: must name what the {spec.search.trials} trials search.")
    return dict(sorted(found.items()))


def resolve(
    spec: StudySpec,
    registry: Registry,
    settings: Settings,
    values: Mapping[str, Any],
    section: str = "factors",
) -> tuple[dict[str, Config], dict[str, str]]:
    """Return the full configuration of one training and the places it names on this machine.

    Args:
        spec: The study.
        registry: What may be named.
        settings: Gives data sets their places.
        values: Levels and hyperparameters by dotted key, put on top of the study's own.
        section: Where the study's author wrote these values, for messages.

    Raises:
        InputError: A component, parameter or value that does not exist or is not allowed.
    """
    tree: Table = {"train": asdict(spec.train), **spec.base}
    written = {kind: f"{spec.file}: base.{kind}" for kind in CONFIGURED} | {"train": f"{spec.file}: train"}
    for key, value in values.items():
        kind = key.partition(".")[0]
        written[kind] = f"{spec.file}: {section}.{kind}"
        _check_kind(key, f"{spec.file}: {section}.{key}")
        if "." in key and kind not in tree:
            tree[kind] = registry.parts(_network(tree, registry, written)).get(kind, {})
        if "." in key:
            assign(tree, key, value)
        else:
            tree[key] = value  # another component, which has nothing of the base's

    network = _network(tree, registry, written)
    parts = registry.parts(network)
    for kind in tree:
        if kind not in (*parts, *DEFAULT_BASE, "train"):
            has = f"its parts are {listing(parts)}" if parts else "it is one whole"
            raise InputError(f"{written[kind]}: the network {network!r} has no {kind}; {has}.")
    config: dict[str, Config] = {}
    for kind in (*DEFAULT_BASE, *parts):
        value = tree.get(kind, parts.get(kind))
        if kind == "dataset":
            value = _with_places(value, settings, registry)
        config[kind] = registry.resolve(kind, value, written[kind])
    config["train"] = {
        **asdict(fill(Train, tree["train"], written["train"])),
        "select_by": spec.analysis.metric,
    }
    return _split_places(config, registry)


def neutral_values(config: Mapping[str, Config], registry: Registry) -> dict[str, Any]:
    """Return the values at which later-added parameters of a configuration do not count, by dotted key."""
    hints = get_type_hints(Train, include_extras=True)
    declared = {f"train.{key}": neutral_value(hint) for key, hint in hints.items()}
    for kind, table in config.items():
        if kind in CONFIGURED:
            parameters = registry.get(kind, table["name"]).parameters
            declared |= {f"{kind}.{key}": parameter.neutral for key, parameter in parameters.items()}
    return {key: value for key, value in declared.items() if value is not None}


def _network(tree: Table, registry: Registry, written: Mapping[str, str]) -> str:
    return str(registry.resolve("network", tree["network"], written["network"])["name"])


def _with_places(value: Any, settings: Settings, registry: Registry) -> Any:
    """Add the places that study.toml knows for the data set; the study's own win."""
    table = (
        {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else value
    )
    if not isinstance(table, dict) or table.get("name") not in registry.names("dataset"):
        return value
    declared = registry.get("dataset", table["name"]).parameters
    known = settings.data.get(table["name"], {})
    return {**{key: path for key, path in known.items() if key in declared}, **table}


def _split_places(config: dict[str, Config], registry: Registry) -> tuple[dict[str, Config], dict[str, str]]:
    """Part the configuration, which counts, from the places on this machine, which do not."""
    places: dict[str, str] = {}
    counted: dict[str, Config] = {}
    for kind, table in config.items():
        declared = registry.get(kind, table["name"]).parameters if kind in CONFIGURED else {}
        counted[kind] = {}
        for key, value in table.items():
            if key in declared and declared[key].is_place:
                if value:
                    places[f"{kind}.{key}"] = str(Path(value).expanduser().absolute())
            elif key in declared and declared[key].is_file and value != declared[key].default:
                path = Path(value).expanduser().absolute()
                counted[kind][key] = file_digest(path)
                places[f"{kind}.{key}"] = f"{path}#{counted[kind][key]}"
            else:
                counted[kind][key] = value
    return counted, places
