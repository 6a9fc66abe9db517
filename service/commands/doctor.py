"""`pairsieve doctor`: which scorers can run here, how fast, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, split_names, store_if_any

if TYPE_CHECKING:
    from workers.doctor.devices import Device
    from workers.doctor.examine import Diagnosis
    from workers.doctor.machine import Service
    from workers.scorers.base import ScorerSpec


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    scorers: Annotated[
        str | None, typer.Option(help="Scorers that must run here, by comma; default all, of which none must.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    measure: Annotated[bool, typer.Option(help="Measure the device's speed for a few seconds.")] = True,
    json: Json = False,
) -> None:
    """Say which scorers can run here and how fast, and how to get what is missing; fails if one asked for cannot."""
    from ranking.errors import PairsieveError
    from ranking.settings import load_settings
    from service.console import print_json, waiting
    from workers.doctor.examine import decoding_rate, examine, together
    from workers.doctor.machine import disk_free, processors, services, versions
    from workers.scorers.installed import installed
    from workers.scorers.registry import choose, specs
    from workers.scorers.runtime import check_device
    from workers.scorers.weights import weights_folder

    check_device(device)
    settings = load_settings()
    store = _store_or_none()
    asked = split_names(scorers) if scorers is not None else []
    chosen = [choose(name, store=store) for name in asked] or list(specs(store).values())
    found, target, speeds = _devices(chosen, device, measure=measure, quiet=json)
    cores = settings.decoders or processors()
    decode_rate = decoding_rate(cores)
    free = next((each.free for each in found if each.name == target), None)
    with waiting("looking at weights", quiet=json):
        diagnoses = [examine(spec, free=free, speeds=speeds, decode_rate=decode_rate) for spec in chosen]
    running = [each for each in diagnoses if each.runs]
    rate = together(running, speeds=speeds, decode_rate=decode_rate)
    answers = services(settings)
    facts = {
        "weights folder": str(weights_folder()),
        "weights disk free": disk_free(weights_folder()),
        "processors": processors(),
        "decoders": cores,
        "decoding": decode_rate,
        "speed": speeds,
        "together": rate,
        "versions": versions(),
    }
    if json:
        print_json(
            {
                "scorers": [_row(each) for each in diagnoses],
                "device": target,
                "devices": [asdict(each) for each in found],
                "services": [asdict(each) for each in answers],
                "not_used": [problem.text for problem in installed().problems],
                **{key.replace(" ", "_"): value for key, value in facts.items()},
            }
        )
    else:
        _print(diagnoses, found, target, answers, facts)
    cannot = [each for each in diagnoses if not each.runs]
    if asked and cannot:
        others = f" (and {len(cannot) - 1} more)" if len(cannot) > 1 else ""
        raise PairsieveError(f"{cannot[0].spec.name} cannot run here{others}: {cannot[0].why}", code="cannot-run")


def _store_or_none() -> Any:
    """The store, for the scorers that were trained into it; None too where it cannot be opened, which is told apart."""
    from ranking.errors import PairsieveError

    try:
        return store_if_any()
    except (PairsieveError, OSError):
        return None


def _devices(
    chosen: list[ScorerSpec], device: str, *, measure: bool, quiet: bool
) -> tuple[list[Device], str | None, dict[str, float]]:
    """The devices, the name of the one to run on, and its GFLOP/s by precision; nothing where no scorer has a
    tower, and then torch is not loaded."""
    if not any(spec.assets for spec in chosen):
        return [], None, {}
    from service.console import waiting
    from workers.doctor.devices import devices, giga_flops
    from workers.doctor.examine import precision_of
    from workers.scorers.runtime import pick_device

    found = devices()
    picked = pick_device(device)
    target = "cuda:0" if picked == "cuda" else picked
    advice = next((each.advice for each in found if each.name == target), "fp32")
    speeds: dict[str, float] = {}
    if measure:
        wanted = dict.fromkeys([*(precision_of(spec) for spec in chosen if spec.assets), advice])
        with waiting("measuring", quiet=quiet):
            for precision in wanted:
                try:
                    speeds[precision] = giga_flops(target, precision)
                except RuntimeError:  # the device does not take it, or is full; then there is no rate to tell
                    continue
    return found, target, speeds


def _row(each: Diagnosis) -> dict[str, Any]:
    from workers.doctor.examine import precision_of

    return {
        "scorer": each.spec.name,
        "runs": each.runs,
        "weights": each.stand.state if each.spec.assets else "none needed",
        "why": each.why or None,
        "to_fetch": [asset.name for asset in each.stand.absent],
        "to_fetch_bytes": each.stand.bytes,
        "pull": f"pairsieve scorers pull {each.spec.name}" if each.stand.absent else None,
        "precision": precision_of(each.spec),
        "memory_bytes": each.memory,
        "images_per_second": each.rate,
    }


def _print(
    diagnoses: list[Diagnosis],
    found: list[Device],
    target: str | None,
    answers: list[Service],
    facts: dict[str, Any],
) -> None:
    from rich.table import Table
    from rich.text import Text

    from service.console import out, print_table

    rows = []
    for each in diagnoses:
        state = "can run" if each.runs else each.stand.state if each.stand.absent else "no room"
        fetch = _size(each.stand.bytes) if each.stand.absent else "–"
        memory = _size(each.memory) if each.memory else "–"
        rows.append([each.spec.name, state, f"{fetch:>8}", f"{memory:>8}", f"{_rate(each.rate):>9}"])
    print_table("scorers", ["scorer", "here", "to fetch", "memory", "images/s*"], rows)
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for device in found:
        room = f", {_size(device.free)} of {_size(device.total)} free" if device.free is not None else ""
        chosen = " (chosen)" if device.name == target and len(found) > 1 else ""
        suits = f"; {device.advice} suits it: it {device.why}"
        lines.add_row(f"device {device.name}", Text(device.title + room + chosen + suits))
    lines.add_row("weights", Text(f"{facts['weights folder']}, {_size(facts['weights disk free'])} free"))
    for service in answers:
        lines.add_row(service.name, Text(service.what if service.ok else f"NO: {service.what}"))
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in facts["versions"].items())
    lines.add_row("versions", Text(versions))
    out.print()
    out.print(lines)
    for text in ("", *_notes(diagnoses, target, facts)):
        out.print(Text(text))


def _notes(diagnoses: list[Diagnosis], target: str | None, facts: dict[str, Any]) -> Iterator[str]:
    """What the table means, and what to do."""
    from workers.scorers.installed import installed

    decoding = f"{facts['decoding']:,.0f} images/s, JPEGs of 768×768 in {facts['decoders']} processes"
    speeds: dict[str, float] = facts["speed"]
    if speeds:
        spoken = ", ".join(f"{each:,.0f} GFLOP/s in {precision}" for precision, each in speeds.items())
        yield (
            f"* An estimate: {spoken} on {target}, measured just now on one block of ViT-L/14, over the GFLOPs that an "
            f"image takes; no more than is decoded here ({decoding}). Prompts and loading are not counted."
        )
        base, best = speeds.get("fp32"), max(speeds, key=lambda precision: speeds[precision])
        if base and best != "fp32":
            yield f"Towers are {speeds[best] / base:.1f} times as fast in {best}: `score … --precision {best}`."
    else:
        yield f"* An estimate: what is decoded here ({decoding})."
    if facts["together"] is not None and len(diagnoses) > 1:
        yield f"Those that can run give {_rate(facts['together'])} images/s together; a shared tower counts once."
    for each in diagnoses:
        if not each.runs and each.stand.state != "missing":
            yield f"{each.spec.name}: {each.why}."
    for problem in installed().problems:
        yield f"not used: {problem.text}"
    missing = [each.spec.name for each in diagnoses if each.stand.state == "missing"]
    if missing:
        names = " ".join(missing[:2])
        yield f"Fetch what is missing with `pairsieve scorers pull {names}`, or --all; sizes are shown first."


def _rate(rate: float | None) -> str:
    if rate is None:
        return "–"
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _size(count: float | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
