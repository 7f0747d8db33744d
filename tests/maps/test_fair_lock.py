"""The lock: one thread at a time, in order, again within, and no deadlock."""

import threading
import time

from deqlab.maps.fair_lock import FairLock


def test_one_thread_at_a_time_in_the_order_of_asking():
    lock, order, inside = FairLock(), [], []

    def work(name):
        with lock.hold():
            inside.append(name)
            order.append(name)
            time.sleep(0.002)
            assert inside == [name]
            inside.remove(name)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    with lock.hold():
        for count, thread in enumerate(threads, start=1):
            thread.start()
            while len(lock.waiting) < count:
                time.sleep(1e-4)
    for thread in threads:
        thread.join()
    assert order == list(range(6))
    assert lock.owner is None
    assert lock.depth == 0


def test_a_thread_may_ask_again_within():
    lock = FairLock()
    with lock.hold() as outer, lock.hold() as inner:
        assert outer
        assert inner
        assert lock.depth == 2
    assert lock.owner is None


def test_who_waits_for_a_waiting_thread_is_not_stuck():
    lock, came = FairLock(), []

    def work():
        with lock.hold(patience=0.01) as mine:
            came.append(mine)

    with lock.hold():
        before = lock.of_others()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=10)
        assert lock.of_others() != before  # who has the turn sees that another went on as well
    assert came == [False]
    assert not lock.waiting
    with lock.hold() as mine:
        assert mine


def test_an_error_ends_the_turn():
    lock = FairLock()
    try:
        with lock.hold():
            raise KeyError
    except KeyError:
        pass
    assert lock.owner is None
