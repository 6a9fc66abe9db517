"""Pairs to look at: pictures within the page, everything escaped, what cannot be shown says why."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from notebook_store import opinion, scored_catalog
from pickapic_factory import Row, write
from PIL import Image

from ranking.catalog import Catalog
from ranking.ingest import ingest
from ranking.notebook.look import Look, look_at
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return scored_catalog(tmp_path_factory.mktemp("look"), "pets", ("sharp", "hue.2"))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_pair_shows_both_pictures_prompt_labels_and_scores(catalog: Catalog) -> None:
    pairs = catalog.dataset("pets").where(winner=0)
    row = pairs.head(1).to_arrow().to_pylist()[0]
    html = pairs.pair(row["pair_id"])._repr_html_()
    tags = Tags(html)
    assert tags.open == []
    sources = [given["src"] or "" for tag, given in tags.seen if tag == "img"]
    assert len(sources) == 2
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == "WEBP"
    assert [given["alt"] for tag, given in tags.seen if tag == "img"] == ["image 0, preferred", "image 1"]
    for text in (row["prompt"], row["pair_id"], row["model_0"], "image 0 is better", f"{row['sharp.0']:.4g}"):
        assert text in html
    first, second = opinion("sharp", row["image_0_uid"]), opinion("sharp", row["image_1_uid"])
    assert ("disagrees" in html.split("sharp</td>")[1].split("</tr>")[0]) == (first < second)


def test_the_pictures_are_those_of_the_pair_in_its_order(catalog: Catalog) -> None:
    pairs = catalog.dataset("pets").head(4)
    look = pairs.look(4)
    assert [card.row["pair_id"] for card in look.cards] == pairs.to_arrow()["pair_id"].to_pylist()
    shown = {card.row[f"image_{side}_uid"]: card.pictures[side].webp for card in look.cards for side in (0, 1)}
    assert len(set(shown.values())) == len(shown) > 4, "every image has its own picture"
    assert repr(look).splitlines()[0].startswith(look.cards[0].row["pair_id"])


def test_the_page_runs_nothing_fetches_nothing_and_escapes_what_others_wrote(store: Store, tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>'
    write(tmp_path / "source" / "a.parquet", [Row(evil, "img-1", "img-2", model_0="<b>m</b>")])
    ingest(store, tmp_path / "source", "pets")
    catalog = Catalog(store)
    create_snapshot(store)
    html = catalog.dataset("pets").look()._repr_html_()
    tags = Tags(html)
    assert {tag for tag, _ in tags.seen} <= {
        "div",
        "figure",
        "figcaption",
        "img",
        "code",
        "span",
        "table",
        "tr",
        "td",
        "th",
    }
    assert not [name for _, given in tags.seen for name in given if name.startswith("on")]
    assert all((given["src"] or "").startswith("data:") for tag, given in tags.seen if tag == "img")
    assert "url(" not in "".join(given.get("style") or "" for _, given in tags.seen)
    assert "&lt;script&gt;" in html


def test_an_image_that_cannot_be_shown_says_why(store: Store, tmp_path: Path) -> None:
    broken = Row("a cat", "img-1", "img-2", winner=None, raw=(("jpg_0", b"\xff\xd8 no picture"), ("jpg_1", None)))
    write(tmp_path / "source" / "a.parquet", [broken])
    ingest(store, tmp_path / "source", "pets", skip_bad_rows=True)
    create_snapshot(store)
    look = Catalog(store).dataset("pets").look()
    (card,) = look.cards
    assert [picture.webp for picture in card.pictures] == [None, None]
    assert all(card.pictures[side].reason in re.sub("&#x27;", "'", look._repr_html_()) for side in (0, 1))
    assert card.verdict == "a tie"


def test_nothing_to_look_at_is_no_error(catalog: Catalog) -> None:
    assert look_at(catalog.dataset("pets").table, []) == Look(())
    assert "no pairs" in catalog.dataset("pets").where(winner=0, is_tie=True).look()._repr_html_()
