"""The JSON that /v1/runs answers with."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ranking.runs import RunState
from service.api.models import Json, Number, SampleOut


class RunOut(BaseModel):
    """A training run, at a glance. Numbers are means over its recent steps; null where they are not known."""

    id: str
    subset: str
    state: RunState
    created: str
    model: str
    method: str
    lora: bool
    steps_done: int
    steps_total: int | None
    headline: str = Field(description="one sentence on whether it learns")
    loss: Number
    implicit_accuracy: Number
    win_rates: dict[str, Number] = Field(description="over the base model, by judge, of the latest evaluation")
    warnings: list[str] = Field(description="codes of the grave ones")


class RunList(BaseModel):
    items: list[RunOut]


class SeriesOut(BaseModel):
    """One number over the steps, in ranges of steps: the middle of each, with the mean, the least and the greatest of
    its values, and a moving mean around it."""

    name: str
    step: list[float]
    mean: list[Number]
    low: list[Number]
    high: list[Number]
    smooth: list[Number]


class TimeGridOut(BaseModel):
    """One number by range of steps (`rows`, their middles in `step`) and by range of diffusion time, least noise
    first."""

    name: str
    step: list[float]
    rows: list[list[Number]]


class RunWarningOut(BaseModel):
    """What one should know of a run before one believes it."""

    code: str
    message: str
    todo: str
    numbers: dict[str, Number]
    grave: bool = Field(description="false where it may be as it should be")


class RunDetail(RunOut):
    """One run with everything that it measured."""

    config: Json
    result: Json | None = Field(description="what a done run ended with")
    evaluations: list[Json] = Field(description="comparisons with the base model, oldest first")
    reason: str | None = Field(description="why a dead run was given up")
    told: Number = Field(description="when a run that goes on last told its steps, Unix time; null for one that ended")
    seconds_left: Number = Field(description="at the recent rate")
    latest: Json = Field(description="the last step as it was recorded")
    recent: Json = Field(description="means over the recent steps")
    series: list[SeriesOut]
    by_time: list[TimeGridOut]
    notes: list[RunWarningOut] = Field(description="the warnings in full")
    samples: list[int] = Field(description="steps before which pictures were drawn: /samples/{step}")


class RunSamples(BaseModel):
    """What a run drew before one of its steps, the same prompts and seeds each time."""

    step: int
    items: list[SampleOut]
