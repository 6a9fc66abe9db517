"""Which pairs a step sees."""

from training.data.order import Order, Visit


def test_every_epoch_sees_every_pair_once_in_an_order_of_its_own() -> None:
    order = Order(10, size=4, seed=0)
    seen = [visit for step in range(5) for visit in order.at(step)]
    assert sorted(visit.pair for visit in seen[:10]) == list(range(10)) == sorted(visit.pair for visit in seen[10:])
    assert [visit.pair for visit in seen[:10]] != [visit.pair for visit in seen[10:]]
    assert [visit.number for visit in seen] == [0] * 10 + [1] * 10


def test_the_seed_fixes_the_order() -> None:
    def order(seed: int) -> list[list[Visit]]:
        return [Order(7, size=3, seed=seed).at(step) for step in range(6)]

    assert order(1) == order(1) != order(2)


def test_a_step_can_be_asked_for_without_those_before_it() -> None:
    first = Order(7, size=3, seed=0)
    all_in_turn = [first.at(step) for step in range(9)]
    assert Order(7, size=3, seed=0).at(8) == all_in_turn[8]


def test_a_step_is_full_even_when_there_are_fewer_pairs() -> None:
    assert all(len(Order(3, size=8, seed=0).at(step)) == 8 for step in range(4))
