"""Score a clip with oceanai, audio and video, by networks with random weights.

    python run_oceanai.py WARM CLIP

Run by the interpreter of its environment; see ``setup.sh``. The calls are those of
``test_get_av_union_predictions`` in its own tests, with default windows and five pictures a second,
save that no ``load_…_weights`` is called: the weights lie on file hosts, and their values do not
change the work. Random weights stay in training mode where loading would have set ``eval()``, which
is therefore called here. Its text path is left out: Whisper, a translator and BERT are fetched too.
The landmarks of MediaPipe come with its package, trained.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import meter
from torch_cpu import load_torch


def load():
    torch = load_torch()
    from oceanai.modules.lab.build import Run

    return torch, Run


def build(modules):
    torch, Run = modules
    torch.manual_seed(0)
    run = Run(lang="en", metadata=False)
    run.load_audio_model_hc(out=False)
    run.load_audio_model_nn(out=False)
    run.load_video_model_hc(lang="en", out=False)
    run.load_video_model_deep_fe(out=False)
    run.load_video_model_nn(out=False)
    run.load_av_models_b5(out=False)
    networks = [run.audio_model_hc_, run.audio_model_nn_, run.video_model_hc_]
    networks += [run.video_model_deep_fe_, run.video_model_nn_, *run.av_models_b5_.values()]
    for network in networks:
        network.eval()
    seen = []
    run.video_model_deep_fe_.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))

    def score(clip):
        seen.clear()
        # It scores the folders of a data set and writes the sound beside each clip.
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "clips").mkdir()
            shutil.copy(clip, Path(folder) / "clips" / "clip.mp4")
            run.path_to_dataset_ = folder
            run.ignore_dirs_ = []
            run.ext_ = [".mp4"]
            run.keys_dataset_ = ["Path", "O", "C", "E", "A", "N"]
            assert run.get_av_union_predictions(lang="en", accuracy=False, logs=False, out=False), (
                "oceanai gave no prediction"
            )
        return run.df_files_.iloc[0, 1:].tolist(), sum(seen)

    return score


if __name__ == "__main__":
    os.environ["PATH"] = f"{sys.prefix}/bin:{os.environ['PATH']}"  # Its ffmpeg.
    meter.run(load, build, *sys.argv[1:])
