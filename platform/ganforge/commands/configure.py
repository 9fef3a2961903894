"""From options to settings: defaults < preset < file < ladder < --set."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.cluster.variables import BUILT_IN
from ganforge.console import show
from ganforge.local_files import MOST_RECORD, read_file
from ganforge.settings import (
    SettingsError,
    flatten,
    named_groups,
    nearest,
    override,
    read_json,
    shown,
    shown_key,
    shown_path,
    validated,
)
from ganforge.systems.catalog import in_file, load_own_system, load_system, recorded_name

if TYPE_CHECKING:
    from ganforge.systems.base import Metric, System
    from ganforge.systems.settings import SystemSettings

FLAGSHIP = "progressive_gan_sr"
#: what is measured besides the proxies, by `validation.fid_network`
_NETWORK_METRICS = {"inception": ("fid", "kid"), "efflite0": ("fd_efflite0", "kid_efflite0")}
#: how differently generated images look from their targets, of systems whose images have one
_LOOKS = "validation/perceptual_efflite0"


@dataclass(frozen=True)
class CliOptions:
    """The options of a command that decide the settings of a run."""

    system: str | None = None
    preset: str | None = None
    settings_file: str | None = None
    data: tuple[str, ...] = ()
    workers: int | None = None
    gpu: bool = False
    seed: int | None = None
    start: int | None = None
    target: int | None = None
    scale: int | None = None
    changes: list[str] = field(default_factory=list)
    strict: bool = False
    #: what `--from` has become
    initial_weights: str | None = None
    rungs: int | None = None


def configure(options: CliOptions, default_preset: str = "paper") -> "tuple[str, SystemSettings]":
    """The system's name and its settings; every mistake in one SettingsError.

    Without a preset and a settings file, `default_preset` is taken.
    """
    record = _read(options.settings_file) if options.settings_file else None
    name = options.system or (record["system"] if record else FLAGSHIP)
    if options.system is None and in_file(name):
        # the author of the file chose the code: only the user may
        raise SettingsError(
            f"settings = {shown_path(options.settings_file)}: is for {shown_path(name)}, a system "
            "in a file; name that file with the command, FILE.py:Class, next to --settings"
        )
    if record is not None and recorded_name(record["system"]) != recorded_name(name):
        raise SettingsError(
            f"settings = {shown_path(options.settings_file)}: is for "
            f"{shown_path(record['system'])}, not for {shown_path(name)}; leave the system's name "
            "out, or give another file"
        )
    kind = load_own_system(name)
    settings = kind.Settings().model_copy(update={"system": recorded_name(name)})
    preset = options.preset or (None if record else default_preset)
    if preset is not None and preset in ("paper", *kind.PRESETS):
        settings = override(settings, kind.PRESETS.get(preset, {}))
    elif preset is not None:
        known = ", ".join(kind.PRESETS)
        near = nearest(preset, kind.PRESETS)
        hint = f"; did you mean '{near}'?" if near else ""
        raise SettingsError(f"preset = {shown_key(preset)}: {name} has {known}{hint}")
    if record is not None:
        settings = validated(kind.Settings, _merged(settings.model_dump(), record["settings"]))
    settings = _with_ladder(settings, options)
    changes, problems = _changes(options, named_groups(settings))
    given = {"scale"} & set(record["settings"] if record else ())
    given |= set() if options.scale is None else {"scale"}
    try:
        changes |= _generator_changes(settings, changes, given)
    except SettingsError as error:
        problems += str(error).split("\n")
    try:
        settings = override(settings, changes)
    except SettingsError as error:
        problems += str(error).split("\n")
    system = changes.get("system", settings.system or recorded_name(name))
    if system != recorded_name(name):
        problems.append(
            f"system = {shown(system)}: must be {recorded_name(name)}, whose settings "
            "these are; the system is named behind the command, such as `ganforge train wgan`"
        )
    if problems:
        raise SettingsError("\n".join(problems))
    return name, absolute(settings.model_copy(update={"system": recorded_name(name)}))


def _generator_changes(
    settings: "SystemSettings", changes: dict[str, Any], given: set[str]
) -> dict[str, Any]:
    """The settings that make the network of the weights to begin with, where these are another
    trainer's and no generator is chosen; says so. What is `given` already must agree."""
    key, weights = "generator_architecture", changes.get("initial_weights", "none")
    field = type(settings).model_fields.get(key)
    chosen = key in changes or field is None or getattr(settings, key) != field.default
    if chosen or weights == "none":
        return {}
    from ganforge.systems.generators import changes_for, known_weights

    known = known_weights(weights)
    if known is None:
        return {}
    found = changes_for(known)
    for name in ("scale", "channels"):
        said = changes.get(name, getattr(settings, name) if name in given else found[name])
        if str(said) != str(found[name]):
            raise SettingsError(
                f"{name} = {said}: {shown_path(weights)} is a network of {found[key]} with {name} "
                f"= {found[name]}; leave {name} out, or begin with other weights"
            )
    show(
        f"generator     {found[key]} of {shown_path(weights)}: enlarges {known.scale} times, "
        f"{known.channels} channels, {found['generator_shape']}",
        errors=True,
    )
    return found


def absolute(settings: "SystemSettings") -> "SystemSettings":
    """Paths of this machine made absolute: workers have another working directory."""
    named = {
        "data.root": settings.data.root,
        "data.cache_directory": settings.data.cache_directory,
        "data.low_resolution": settings.data.low_resolution,
        "validation.root": settings.validation.root,
        "validation.low_resolution": settings.validation.low_resolution,
    }
    named |= {f"data.roots.{number}": path for number, path in enumerate(settings.data.roots)}
    changes = {
        key: str(_expanded(key, path).absolute())
        for key, path in named.items()
        if path is not None and "://" not in path
    }
    return override(settings, changes)


def _expanded(key: str, path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~name, where nobody is called so
        raise SettingsError(
            f"{key} = {shown(path)}: its first part must name a user of this machine; write "
            f"./{shown_key(path)} for a folder that is called so"
        ) from None


def _merged(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given` over `base`, group by group: a file may give a part of a group."""
    found = dict(base)
    for key, value in given.items():
        below = found.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            value = _merged(below, value)
        found[key] = value
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        return read_json(read_file(Path(path), MOST_RECORD).decode())
    except OSError as error:
        raise SettingsError(f"settings = {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"settings = {path}: must be a text in UTF-8; is not") from None
    except ValueError as error:
        raise SettingsError(f"settings = {path}: {error}") from None


#: of a stage, what another ladder leaves as it is
_KEPT = ("task", "overrides", "images", "fade_images", "iterations", "fade_iterations")


def _with_ladder(settings: "SystemSettings", options: CliOptions) -> "SystemSettings":
    """Stages from --start to --target at --scale with the lengths that the stages have; all of one
    size where networks do not grow."""
    from ganforge.systems.settings import ladder

    if options.start is None and options.target is None and options.scale is None:
        return settings
    if not hasattr(settings, "scale"):
        raise SettingsError(f"--start, --target and --scale are not for {settings.system}")
    if not settings.grows:
        return _resized(settings, options)
    before = settings.stages
    old = settings.scale  # pyright: ignore[reportAttributeAccessIssue]
    scale = old if options.scale is None else options.scale
    override(
        settings, {"scale": scale, "stages": ladder(16, 64, scale=4)}
    )  # a wrong scale is reported first
    first, last = before[0].resolution // old, before[-1].resolution * scale // old
    stages = ladder(
        first if options.start is None else options.start,
        last if options.target is None else options.target,
        scale=scale,
        epochs=[stage.epochs for stage in before],
        fade_epochs=[stage.fade_epochs for stage in before],
    )
    kept = [before[min(number, len(before) - 1)] for number in range(len(stages))]
    rows = [
        row.model_copy(update={name: getattr(old_row, name) for name in _KEPT})
        for row, old_row in zip(stages, kept, strict=True)
    ]
    return override(settings, {"scale": scale, "stages": tuple(rows)})


def _resized(settings: "SystemSettings", options: CliOptions) -> "SystemSettings":
    """All stages at one size: --start is the source's side and --target the target's."""
    old: int = settings.scale  # pyright: ignore[reportAttributeAccessIssue]
    scale = old if options.scale is None else options.scale
    if scale < 1:
        override(settings, {"scale": scale})  # refuses it
    start = settings.stages[0].resolution // old if options.start is None else options.start
    if options.target is not None:
        if options.start is not None and options.start * scale != options.target:
            raise SettingsError(
                f"--target {options.target}: must be --start × scale ({options.start} × {scale}): "
                f"{settings.system} does not grow; give one of the two"
            )
        start = options.target // scale
    side = start * scale if options.target is None else options.target
    rows = tuple(stage.model_copy(update={"resolution": side}) for stage in settings.stages)
    return override(settings, {"scale": scale, "stages": rows})


def _changes(options: CliOptions, groups: Container[str]) -> tuple[dict[str, Any], list[str]]:
    """The changes that options and --set ask for, and a line for each that contradicts another.
    `groups` may be given by name, and single settings of them as well."""
    named, (pairs, problems) = _named(options), _pairs(options.changes, groups)
    for key in sorted(named.keys() & pairs.keys()):
        says = ", ".join(options.data) if key == "data.roots" else named[key]
        if str(named[key]) != pairs[key]:
            problems.append(
                f"--set {key}={shown_key(pairs[key])}: {_OPTION_OF[key]} says {says}; "
                "give one of the two"
            )
    if options.data not in ((), (BUILT_IN,)) and "data.source" in pairs:
        problems.append(
            f"--set data.source={shown_key(pairs['data.source'])}: --data (GANFORGE_DATA) "
            f"{', '.join(options.data)} names the images; give one of the two, or --data {BUILT_IN}"
        )
    return pairs | named, problems


#: the options that stand for a setting
_OPTION_OF = {
    "data.root": "--data (GANFORGE_DATA)",
    "data.roots": "--data (GANFORGE_DATA)",
    "workers": "--workers",
    "device": "--gpu (GANFORGE_GPU)",
    "seed": "--seed",
    "data.strict": "--strict",
    "initial_weights": "--from",
    "rungs": "--rungs",
}


def folder_changes(folders: Sequence[str]) -> dict[str, Any]:
    """The settings that `--data` stands for, given once or several times; none without it."""
    if not folders:
        return {}
    if len(folders) > 1 and BUILT_IN in folders:
        raise SettingsError(
            f"--data {BUILT_IN}: stands for the built-in images, and is given with other folders; "
            "leave one of the two out"
        )
    one = folders[0] if len(folders) == 1 and folders[0] != BUILT_IN else None
    return {"data.root": one, "data.roots": tuple(folders) if len(folders) > 1 else ()}


def _named(options: CliOptions) -> dict[str, Any]:
    found = folder_changes(options.data)
    if options.workers is not None:
        found["workers"] = options.workers
    if options.gpu:
        found["device"] = "cuda"
    if options.seed is not None:
        found["seed"] = options.seed
    if options.strict:
        found["data.strict"] = "true"
    if options.rungs is not None:
        found["rungs"] = options.rungs
    if options.initial_weights is not None:
        found["initial_weights"] = options.initial_weights
    return found


def _pairs(changes: list[str], groups: Container[str]) -> tuple[dict[str, str], list[str]]:
    """What --set asks for, by key, and a line for each that cannot be meant."""
    found: dict[str, str] = {}
    problems = []
    for change in changes:
        key, mark, value = change.partition("=")
        if not mark or not key:
            problems.append(f"--set {shown_key(change)}: must be KEY=VALUE")
        elif key in found:
            values = f"{shown_key(found[key])} and {shown_key(value)}"
            problems.append(f"--set {shown_key(key)} is given twice ({values}): keep one")
        else:
            found[key] = value
    for key in list(found):
        above = (name for name in found if key.startswith(f"{name}.") and name not in groups)
        group = next(above, None)
        if group is not None:
            del found[key]
            problems.append(
                f"--set {shown_key(key)}: --set {shown_key(group)} sets it too; give one of the two"
            )
    return found, problems


def choose_metric(
    kind: "type[System]", name: str | None, settings: "SystemSettings | None" = None
) -> "Metric":
    """The metric that runs are compared by: the system's own, or one of those it measures."""
    if name is None:
        return kind.metric
    known = {metric.name: metric for metric in known_metrics(kind, settings)}
    if name not in known:
        more = " or set validation.fid_network=efflite0" if kind.paired and name == _LOOKS else ""
        raise SettingsError(
            f"metric = {shown_key(name)}: is not measured under these settings; choose from "
            f"{', '.join(known)}{more}"
        )
    return known[name]


def known_metrics(kind: "type[System]", settings: "SystemSettings | None") -> "list[Metric]":
    """What a system measures under these settings, its own metric first."""
    known = {metric.name: metric for metric in (kind.metric, *kind.metrics)}
    if settings is not None and not settings.validation.sliced_wasserstein:
        known.pop("validation/swd", None)
    if settings is not None and settings.validation.fid_network == "none":
        known.pop("validation/fid_proxy", None)
        known.pop("validation/kid_proxy", None)
    if settings is not None and {"fid", "kid"} & set(kind.set_metrics):
        for name in _NETWORK_METRICS.get(settings.validation.fid_network, ()):
            found = kind.metric._replace(name=f"validation/{name}", mode="min")
            known[found.name] = found
    if settings is not None and kind.paired and settings.validation.fid_network == "efflite0":
        known[_LOOKS] = kind.metric._replace(name=_LOOKS, mode="min")
    return list(known.values())


def check_kept(kind: "type[System]", settings: "SystemSettings") -> None:
    """Refuse metrics of `keep_by` that are not measured, or that nothing is kept by."""
    known = [metric.name for metric in known_metrics(kind, settings)]
    problems = [
        f"keep_by = {shown_key(name)}: is not measured under these settings; choose from "
        f"{', '.join(known)}"
        for name in settings.keep_by
        if name not in known
    ]
    if len(set(settings.keep_by)) < len(settings.keep_by):
        problems.append(f"keep_by = {', '.join(settings.keep_by)}: give each metric once")
    if settings.keep_by and not settings.keep.startswith("best:"):
        problems.append(
            f"keep_by = {', '.join(settings.keep_by)}: with keep = {settings.keep} nothing is kept "
            "by a metric; set keep=best:1, or leave it out"
        )
    if problems:
        raise SettingsError("\n".join(problems))


def check_terms(kind: "type[System]", settings: "SystemSettings") -> None:
    """Refuse a stage without a term for the generator, and a network file that does not exist."""
    # here and not above: it imports torch, and the command line is made of this file
    from ganforge.systems.perceptual import EFFLITE0

    values = flatten(settings)
    file = values.get("perceptual.network", "none")
    builtin = ("auto", "imagenet", "none", *EFFLITE0)
    known = file in builtin or file.startswith("sha256:")
    if not known and not Path(file).expanduser().is_file():
        raise SettingsError(
            f"perceptual.network = {file}: no such file; give {', '.join(builtin)} or a path"
        )
    for index, stage in enumerate(settings.stages):
        values = flatten(settings.at(index))
        keys = kind.generator_weights
        idle = [k for k in keys if not values[k] or (k == "perceptual.weight" and file == "none")]
        if keys and len(idle) == len(keys) and stage.task != "pixel":
            raise SettingsError(
                f"stages.{index}: {' and '.join(keys)} are 0 or unused, so no term trains the "
                "generator; give one of them a value above 0"
            )


def check_images(system: str, settings: "SystemSettings") -> tuple[str, ...]:
    """Refuse images that a system cannot be trained on. The lines before a run: what is used,
    converted and skipped, and which images look like copies."""
    from ganforge.data.folders import find_images
    from ganforge.data.scan import report

    return tuple(report(find_images(load_system(system).Data, settings), settings.data))


def print_images(lines: Sequence[str]) -> None:
    """Print what `check_images` found, where it does not mix with results."""
    for line in lines:
        show(line, errors=True)
