"""Score a clip with a bundle of mmperson.

python run_mmperson.py WARM CLIP BUNDLE
"""

import sys

import meter


def load():
    import mmperson

    return mmperson


def build(mmperson):
    predictor = mmperson.load(sys.argv[3])
    video = predictor.spec.video
    frames = 0 if video is None else video.count

    def score(clip):
        record = predictor.predict(clip)
        assert record.scores is not None, record.error
        return list(record.scores.model_dump().values()), frames

    return score


if __name__ == "__main__":
    meter.run(load, build, *sys.argv[1:3])
