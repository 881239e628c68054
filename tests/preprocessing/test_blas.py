"""Matrix products run on one thread, and clips are prepared side by side."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mmperson.preprocessing import DescriptorSpec, InputSpec, LogMelSpec, ProsodySpec, prepare_clip
from mmperson.preprocessing.blas import limit_blas_threads


def threads():
    return max(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")


@pytest.fixture(autouse=True)
def several():
    with threadpool_limits(3, user_api="blas"):
        assert threads() == 3
        yield


def test_what_is_set_afterwards_is_taken_back_by_any_thread():
    limit_blas_threads()
    assert threads() == 1
    for number in (2, 3):
        limit = threadpool_limits(number, user_api="blas")
        assert threads() == number
        other = threading.Thread(target=limit_blas_threads)
        other.start()
        other.join()
        assert threads() == 1
        limit.restore_original_limits()


@pytest.mark.parametrize("spec", [DescriptorSpec(), LogMelSpec(), ProsodySpec()])
def test_two_threads_prepare_sound_at_once_and_to_the_same_bits(spec, make_clip, monkeypatch):
    noise = np.random.default_rng(0).normal(scale=0.1, size=3 * spec.source_rate_hz)
    clip = make_clip(noise.astype(np.float32), rate_hz=spec.source_rate_hz)
    alone = prepare_clip(clip, None, InputSpec(audio=spec), None).audio
    both, measure, found = threading.Barrier(2, timeout=10), type(spec).measure, []

    def wait_for_the_other(self, waveform, *, mono):
        both.wait()
        measured = measure(self, waveform, mono=mono)
        both.wait()
        return measured

    monkeypatch.setattr(type(spec), "measure", wait_for_the_other)
    pair = [
        threading.Thread(
            target=lambda: found.append(prepare_clip(clip, None, InputSpec(audio=spec), None))
        )
        for _ in range(2)
    ]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert [inputs.audio.tobytes() for inputs in found] == [alone.tobytes()] * 2
