"""A contact sheet: the same prompts and seeds by several models, one above the other."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from training.evaluation.samples import Samples

_GAP, _LINE, _MARGIN = 4, 14, 8
_INK, _PAPER = (40, 40, 44), (255, 255, 255)


def contact_sheet(
    drawn: Sequence[tuple[str, Samples]], *, prompts: int = 12, side: int = 128, columns: int = 6
) -> Image.Image:
    """One picture (RGB) of the first image of up to `prompts` prompts, spread over the list: a block of rows for every
    `columns` prompts, in it a row for each (title, samples), first the prompts' words. ValueError unless all samples
    have the same prompts and seeds."""
    first = drawn[0][1]
    if any((each.prompts, each.seeds) != (first.prompts, first.seeds) for _, each in drawn):
        raise ValueError("a contact sheet needs samples of the same prompts and seeds")
    places = {prompt: place for place, prompt in reversed(list(enumerate(first.prompts)))}
    chosen = list(places.values())[:: max(1, len(places) // prompts)][:prompts]
    chosen.sort()
    font = ImageFont.load_default(11)
    titles = max(int(font.getlength(title)) for title, _ in drawn) + _GAP
    step = side + _GAP
    block = 2 * _LINE + _GAP + len(drawn) * step
    blocks = [chosen[start : start + columns] for start in range(0, len(chosen), columns)]
    width = 2 * _MARGIN + titles + min(columns, len(chosen)) * step
    sheet = Image.new("RGB", (width, 2 * _MARGIN + len(blocks) * (block + _GAP)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    resample = Image.Resampling.NEAREST if first.images[0].width < side else Image.Resampling.BICUBIC
    for row, members in enumerate(blocks):
        top = _MARGIN + row * (block + _GAP)
        for column, place in enumerate(members):
            left = _MARGIN + titles + column * step
            for line, words in enumerate(_wrapped(first.prompts[place], font, side)):
                pen.text((left, top + line * _LINE), words, _INK, font)
            for level, (_, samples) in enumerate(drawn):
                picture = samples.images[place].resize((side, side), resample)
                sheet.paste(picture, (left, top + 2 * _LINE + _GAP + level * step))
        for level, (title, _) in enumerate(drawn):
            pen.text((_MARGIN, top + 2 * _LINE + _GAP + level * step + side // 2 - 7), title, _INK, font)
    return sheet


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """At most two lines of a text, the second cut off where it does not fit."""
    lines, words = [""], text.split()
    while words and len(lines) < 3:
        longer = f"{lines[-1]} {words[0]}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
            words.pop(0)
        else:
            lines.append("")
    if len(lines) < 3:
        return lines
    second = lines[1]
    while second and font.getlength(f"{second}…") > width:
        second = second[:-1]
    return [lines[0], f"{second}…"]
