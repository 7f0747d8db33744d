"""Turns: one thread at a time, in order, again within, and no deadlock."""

import threading
import time

from deqlab.maps.turns import Turns


def test_one_thread_at_a_time_in_the_order_of_asking():
    turns, order, inside = Turns(), [], []

    def work(name):
        with turns.turn():
            inside.append(name)
            order.append(name)
            time.sleep(0.002)
            assert inside == [name]
            inside.remove(name)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    with turns.turn():
        for count, thread in enumerate(threads, start=1):
            thread.start()
            while len(turns.waiting) < count:
                time.sleep(1e-4)
    for thread in threads:
        thread.join()
    assert order == list(range(6))
    assert turns.owner is None
    assert turns.depth == 0


def test_a_thread_may_ask_again_within():
    turns = Turns()
    with turns.turn() as outer, turns.turn() as inner:
        assert outer
        assert inner
        assert turns.depth == 2
    assert turns.owner is None


def test_who_waits_for_a_waiting_thread_is_not_stuck():
    turns, came = Turns(), []

    def work():
        with turns.turn(patience=0.01) as mine:
            came.append(mine)

    with turns.turn():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=10)
    assert came == [False]
    assert not turns.waiting
    with turns.turn() as mine:
        assert mine


def test_an_error_ends_the_turn():
    turns = Turns()
    try:
        with turns.turn():
            raise KeyError
    except KeyError:
        pass
    assert turns.owner is None
