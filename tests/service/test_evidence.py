"""What a pair's page says of other labels, the images and ratings: words from numbers that were put there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pickapic_factory import Row, write
from scored import score_all
from service_factory import Site, serving

from ranking.ingest import ingest
from ranking.store.blobs import Store
from service.api.models import PairOut
from service.dashboard.evidence import Evidence, evidence

JUDGED = [
    Row("a red fox asleep under an old oak tree", "a", "b", winner=0, user=1, model_0="m", model_1="n"),
    Row("a red fox asleep under an old oak tree", "b", "a", winner=0, user=2, model_0="n", model_1="m", ranking=1),
    Row("a red fox asleep under an old oak trees", "c", "d", winner=None, user=1, model_0="m", model_1="n", ranking=2),
]


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    ingest(store, write(tmp_path / "a.parquet", JUDGED), "pets")
    score_all(store, "pets", {"sharp@00000000": lambda uid: len(uid) / 8})
    with serving(store) as client:
        yield client


def pairs(client: TestClient) -> list[PairOut]:
    return [PairOut.model_validate(pair) for pair in client.get("/v1/pairs?sort=row").json()["items"]]


def lines(found: Evidence) -> dict[str, str]:
    return {line.name: line.text for line in found.lines}


def test_a_contradicted_pair_says_so_and_leads_to_its_like(client: TestClient) -> None:
    pair = pairs(client)[0]
    said = lines(evidence(pair, (0, 1)))
    assert said["Same two judged again"] == "0 with the same winner, 1 with the other"
    assert said["Consistent"] == "no: it is on a cycle of wins"
    assert said["The rater's record"] == "2 pairs, 50.0 % ties, image 0 in 100.0 %, agrees with others in 0.0 % of 1"
    assert said["Prompts nearly the same"] == "1"
    found = evidence(pair, (0, 1))
    for line in found.lines:
        if line.href:
            assert client.get(line.href).status_code in (200, 303), line.href


def test_images_keep_their_columns_when_they_change_sides(client: TestClient) -> None:
    pair = pairs(client)[0]
    straight, swapped = evidence(pair, (0, 1)).beside, evidence(pair, (1, 0)).beside
    assert [(row.name, row.right, row.left) for row in straight] == [(row.name, row.left, row.right) for row in swapped]
    rates = next(row for row in straight if row.name == "Win rate of its model")
    # m and n met three times: a win each and a tie.
    assert (rates.left, rates.right) == ("50.0 %", "50.0 %")


def test_a_tie_has_no_line_about_its_winner(client: TestClient) -> None:
    assert "Winner never lost" not in lines(evidence(pairs(client)[2], (0, 1)))


def test_the_page_shows_it_all(site: Site) -> None:
    pair = site.client.get("/v1/pairs?dataset=toy&limit=1").json()["items"][0]
    page = site.client.get(f"/pairs/{pair['pair_id']}?dataset=toy").text
    assert "Other labels, and the images" in page
    for row in evidence(PairOut.model_validate(pair), (0, 1)).beside:
        assert row.name in page
