"""Score a clip with deep-personality's audiovisual ResNet-18 with random weights.

    python run_deep_personality.py WARM CLIP

Run by the interpreter of its environment; see ``setup.sh``. It has no command that scores a clip,
so its own steps run one after the other: ``frame_extract`` writes every frame as a JPEG,
``chalearn21_audio_extract_ffmpeg`` and ``chalearn21_audio_process`` write the sound at 16 kHz, the
``full_test`` data set reads 100 of the frames and 50,176 samples, and ``full_test`` of its trainer
averages the network over the frames. No checkpoint is loaded: none comes with the package.
"""

import contextlib
import os
import pickle
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import meter
from torch_cpu import load_torch

TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")


def load():
    torch = load_torch()
    # Its networks are imported together, and one that is not run here reads its settings by mmcv 1.
    sys.modules["mmcv"] = SimpleNamespace(Config=None)
    from dpcv.config.default_config_opt import cfg
    from dpcv.data.datasets.audio_visual_data import bimodal_resnet_data_loader
    from dpcv.data.utils import video_to_image, video_to_wave
    from dpcv.engine.bi_modal_trainer import BiModalTrainer
    from dpcv.modeling.networks.audio_visual_residual import audiovisual_resnet

    # It looks for a pressed key after every frame, which OpenCV refuses where it has no windows.
    video_to_image.cv2.waitKey = lambda _: -1
    return SimpleNamespace(
        torch=torch,
        cfg=cfg,
        pictures=video_to_image,
        sound=video_to_wave,
        clips=bimodal_resnet_data_loader,
        trainer=BiModalTrainer,
        network=audiovisual_resnet,
    )


def build(dpcv):
    dpcv.torch.manual_seed(0)
    network = dpcv.network(dpcv.cfg)
    seen = []
    network.visual_branch.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))

    def score(clip):
        seen.clear()
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
            root = Path(name)
            pictures, sound = root / "image_data" / "test_data", root / "raw" / "test"
            voice = root / "voice_data" / "voice_librosa" / "test_data"
            for folder in (pictures, sound, voice, root / "annotation"):
                folder.mkdir(parents=True)
            shutil.copy(clip, sound / "clip.mp4")
            dpcv.pictures.frame_extract(str(sound / "clip.mp4"), str(pictures))
            dpcv.sound.chalearn21_audio_extract_ffmpeg(root / "raw")
            dpcv.sound.chalearn21_audio_process(root / "raw")
            # Where its data set looks for the sound; its own users move the files by hand.
            shutil.move(sound / "clip.npy", voice / "clip.wav.npy")
            labels = {trait: {"clip.mp4": 0.5} for trait in TRAITS}  # It cannot do without.
            (root / "annotation" / "annotation_test.pkl").write_bytes(pickle.dumps(labels))
            dpcv.cfg.DATA.ROOT, dpcv.cfg.OUTPUT_DIR = name, str(root / "log")
            clips = dpcv.clips(dpcv.cfg, "full_test")
            trainer = dpcv.trainer(dpcv.cfg, None, None)
            scores = trainer.full_test(_once(clips), network)[2][0]
        return scores.tolist(), sum(seen)

    return score


def _once(clips):
    """Yield every clip: iterating over the data set itself runs past its end into an IndexError."""
    for index in range(len(clips)):
        yield clips[index]


if __name__ == "__main__":
    os.environ["PATH"] = f"{sys.prefix}/bin:{os.environ['PATH']}"  # Its ffmpeg.
    meter.run(load, build, *sys.argv[1:])
