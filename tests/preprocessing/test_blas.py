"""Who limits the threads of numpy, and for how long."""

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mmperson.preprocessing.blas import one_thread


def threads():
    return max(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")


@pytest.fixture(autouse=True)
def two():
    with threadpool_limits(2, user_api="blas"):
        assert threads() == 2
        yield


def test_the_limit_goes_with_the_block():
    with one_thread():
        assert threads() == 1
    assert threads() == 2
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert threads() == 2


def test_nobody_takes_the_limit_from_another():
    inside, seen = threading.Event(), []

    def come_in():
        inside.set()
        with one_thread():
            seen.append("in")

    other = threading.Thread(target=come_in)
    with one_thread():
        other.start()
        assert inside.wait(10)
        other.join(0.05)
        assert not seen
        assert threads() == 1
    other.join(10)
    assert seen == ["in"]
    assert threads() == 2
