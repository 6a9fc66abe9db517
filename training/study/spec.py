"""What a study compares, as YAML: arms, controls, judges, seeds and the budget they all get. Not which pairs that
means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ranking.errors import PairsieveError, UsageError
from ranking.names import check_name
from ranking.validation import first_flaw, syntax_flaw
from training.config import TrainConfig, parse_config

ControlKind = Literal["all", "random", "top-margin", "top-winner-score", "random-labels", "bottom"]
CONTROLS: tuple[ControlKind, ...] = ("all", "random", "top-margin", "top-winner-score", "random-labels", "bottom")
JUDGES = ("oracle-labels", "coverage", "effective-prompts")
_ARM_MAY_NOT = {"dataset": "of the study", "seed": "moved by the study's seeds"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Part):
    """How many pairs every arm takes: a `percent` of the dataset's pairs that have a winner, or a `count`."""

    percent: float | None = Field(default=None, gt=0, le=100)
    count: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.percent is None) == (self.count is None):
            raise ValueError("give exactly one of percent and count")
        return self


class Control(_Part):
    """A control by its kind. `scorer` is whose margin or score it ranks by, `of` the arm whose bottom it is: those of
    the first arm unless said otherwise."""

    control: ControlKind
    name: str = ""
    scorer: str | None = None
    of: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Control:
        if self.scorer is not None and self.control not in ("top-margin", "top-winner-score"):
            raise ValueError(f"the control {self.control} has no scorer")
        if self.of is not None and self.control != "bottom":
            raise ValueError(f"the control {self.control} is of no arm")
        return self

    @property
    def called(self) -> str:
        """Its name in the table."""
        return self.name or self.control


def _named(kind: str) -> BeforeValidator:
    return BeforeValidator(lambda value: check_name(kind, value))


def _controls(value: Any) -> Any:
    return (
        [{"control": each} if isinstance(each, str) else each for each in value] if isinstance(value, list) else value
    )


class StudySpec(_Part):
    """A study as it is written. Arms are recipes without dataset and seed, and without `take` unless an arm is to have
    a size of its own; `defaults` are laid under each arm and, but for `all`, each control. `train` holds the fields of
    a training config. `family` is the name under which subsets are kept, where studies of a grid share them."""

    name: Annotated[str, _named("study")]
    dataset: Annotated[str, _named("dataset")]
    snapshot: int | None = Field(default=None, ge=1)
    budget: Budget = Budget(percent=5.33)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(0, 1, 2), min_length=1)
    scorer: str | None = None
    judges: tuple[str, ...] | None = Field(default=None, min_length=1)
    defaults: dict[str, Any] = Field(default_factory=dict)
    arms: tuple[dict[str, Any], ...] = Field(min_length=1)
    controls: Annotated[tuple[Control, ...], BeforeValidator(_controls)] = tuple(Control(control=c) for c in CONTROLS)
    train: dict[str, Any] | None = None
    family: Annotated[str, _named("study")] | None = None

    def canonical(self) -> dict[str, Any]:
        """As plain JSON with every default spelled out, what the study's id is computed from."""
        return self.model_dump(mode="json", exclude_none=True)

    def train_config(self, seed: int, judges: tuple[str, ...]) -> TrainConfig:
        """The training of one cell, evaluated by `judges`; only for a study that trains."""
        values = dict(self.train or {})
        values["evaluation"] = dict(values.get("evaluation") or {}) | {"judges": list(judges)}
        return parse_config(values | {"seed": seed}, where=f"train of study {self.name}")


def parse_study(value: Any, *, where: str = "the study") -> StudySpec:
    """The study of a plain JSON value; UsageError in one line that names the place that does not fit."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} is not a map of keys", code="bad-study", hint=f"it has {_keys()}")
    try:
        spec = StudySpec.model_validate(value)
    except ValidationError as error:
        flaw = first_flaw(error)
        reason = f"unknown key {flaw.where!r}" if flaw.unknown_key else f"{flaw.where or 'study'}: {flaw.message}"
        hint = f"a study has {_keys()}" if flaw.unknown_key and len(flaw.path) == 1 else ""
        raise UsageError(f"{where} does not fit, {reason}", code="bad-study", hint=hint) from error
    try:
        _check(spec)
    except PairsieveError as error:
        raise UsageError(f"{where} does not fit, {error.message}", code="bad-study", hint=error.hint) from error
    return spec


def load_study(path: str | Path) -> StudySpec:
    """The study in a YAML or JSON file; UsageError if it cannot be read or does not fit."""
    return parse_study(read_study(path), where=f"study {path}")


def read_study(path: str | Path) -> Any:
    """What a YAML or JSON file holds; UsageError if it cannot be read."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"study {file} cannot be read ({error.strerror})", code="bad-study") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"study {file} is not valid YAML or JSON ({syntax_flaw(error)})", code="bad-study") from error


def _check(spec: StudySpec) -> None:
    if len(set(spec.seeds)) != len(spec.seeds):
        raise UsageError("seeds: one is there twice")
    if spec.judges and len(set(spec.judges)) != len(spec.judges):
        raise UsageError("judges: one is there twice")
    _check_keys(spec.defaults, "defaults", {"name": "an arm's own", **_ARM_MAY_NOT})
    names: set[str] = set()
    for place, arm in enumerate(spec.arms):
        if "name" not in arm:
            raise UsageError(f"arms[{place}]: it has no name", hint="write {name: qsd, metric: {…}}")
        name = check_name(f"arms[{place}]: arm", arm["name"])
        _check_keys(arm, f"arm {name}", _ARM_MAY_NOT)
        if "metric" not in spec.defaults | arm:
            raise UsageError(
                f"arm {name}: it is empty", hint="give it a metric, such as metric: {name: qsd, scorer: …}"
            )
        _add(names, name)
    arms = set(names)
    for control in spec.controls:
        _add(names, check_name("control", control.called))
        if control.of is not None and control.of not in arms:
            raise UsageError(f"control {control.called}: there is no arm {control.of}", hint=_among(arms))
    if spec.train is not None:
        _check_train(spec, spec.train)


def _check_train(spec: StudySpec, train: dict[str, Any]) -> None:
    evaluation = train.get("evaluation")
    if not isinstance(evaluation, dict | None):
        raise UsageError("train.evaluation: a study cannot do without, and it is a map of keys")
    _check_keys(train, "train", {"seed": "moved by the study's seeds"})
    _check_keys(evaluation or {}, "train.evaluation", {"judges": "the study's judges that judge"})
    spec.train_config(spec.seeds[0], ("oracle",))


def _check_keys(given: dict[str, Any], where: str, refused: dict[str, str]) -> None:
    for key, why in refused.items():
        if key in given:
            raise UsageError(f"{where}: {key} has no place here", hint=f"it is {why}")


def _add(names: set[str], name: str) -> None:
    if name in names:
        raise UsageError(f"two arms are called {name}", hint="give each a name of its own")
    names.add(name)


def _among(names: set[str]) -> str:
    return f"there are {', '.join(sorted(names))}"


def _keys() -> str:
    return ", ".join(StudySpec.model_fields)
