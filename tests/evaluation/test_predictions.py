import numpy as np
import pytest

from mmperson.errors import DataError, UsageError
from mmperson.evaluation.predictions import Predictions, read_predictions, write_predictions

HEADER = "sample_id,pred_O,pred_C,pred_E,pred_A,pred_N\n"
ROW = "0.1,0.2,0.3,0.4,0.5\n"


@pytest.fixture
def file(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "predictions.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


def test_the_published_file_is_read(first_impressions):
    folder = first_impressions / "published_predictions"
    predictions = read_predictions(folder / "full_seed42_test_predictions.csv")
    assert len(predictions.sample_id) == 1_999
    assert predictions.sample_id[0] == "--Ymqszjv54.000"
    assert predictions.scores[0].tolist() == [
        0.41277516,
        0.422029,
        0.3559378,
        0.44470873,
        0.3897829,
    ]


def test_what_is_written_is_read_back_to_the_last_digit(tmp_path):
    scores = np.random.default_rng(0).uniform(size=(4, 5))
    scores[2, 3] = np.nan
    names = ["-a.000.mp4", "b,c", 'quo"te', "ünï"]
    path = tmp_path / "p.csv"
    assert write_predictions(path, names, scores) == 3
    back = read_predictions(path)
    assert back.sample_id == ("-a.000.mp4", "b,c", "ünï")
    np.testing.assert_array_equal(back.scores, scores[[0, 1, 3]])


def test_columns_may_be_reordered_and_accompanied(file):
    text = "split,pred_N,pred_A,pred_E,pred_C,pred_O,sample_id\ntest,0.5,0.4,0.3,0.2,0.1,x\n"
    predictions = read_predictions(file(text, "utf-8-sig"))
    assert predictions.sample_id == ("x",)
    assert predictions.scores.tolist() == [[0.1, 0.2, 0.3, 0.4, 0.5]]


def test_samples_match_with_and_without_the_ending():
    predictions = Predictions(("b.001.MP4", "a.000", "other"), np.arange(15.0).reshape(3, 5))
    aligned = predictions.align(["a.000.mp4", "missing.000.mp4", "b.001"])
    np.testing.assert_array_equal(aligned[[0, 2]], predictions.scores[[1, 0]])
    assert np.isnan(aligned[1]).all()
    assert predictions.unknown(["a.000.mp4", "b.001"]) == ("other",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x\n", "lacks the columns sample_id"),
        ("sample_id,pred_O,pred_C,pred_E,pred_A\n", "lacks the columns pred_N"),
        (HEADER, "has no predictions"),
        (HEADER + "a," + ROW + "b,0.1,,0.3,0.4,0.5\n", "line 3: pred_C is empty"),
        (HEADER + "a,0.1,0.2,nan,0.4,0.5\n", "line 2: pred_E is 'nan'"),
        (HEADER + "a,0.1,0.2,0.3,inf,0.5\n", "pred_A is 'inf'"),
        (HEADER + "a,0.1,0.2\n", "line 2: 3 cells, not 6"),
        ("pred_O,pred_C,pred_E,pred_A,pred_N,sample_id\n" + ROW, "line 2: 5 cells, not 6"),
        (HEADER + "a," + ROW + "," + ROW, "line 3: sample_id is empty"),
        (
            HEADER + "a," + ROW + "b,1e308,-1e308,0,0,0\n",
            "line 3: pred_O is 1e308, out",
        ),
        (HEADER + "a,0,1e308,0,0,0\nb,0,-1e308,0,0,0\n", "line 2: pred_C is 1e308, outside"),
        (HEADER + "a,55,60,61,48,50\n", "Scores are on[^!]*the mean of pred_O is 55"),
        (HEADER + "a,-2,0,0,0,0\n", "the mean of pred_O is -2"),
        (HEADER + "a,high,0.2,0.3,0.4,0.5\n", "pred_O is 'high'"),
        (
            HEADER + "a.000," + ROW + "b," + ROW + "a.000.mp4," + ROW,
            "duplicate of line 2",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_place(file, text, message):
    with pytest.raises(DataError, match=message):
        read_predictions(file(text))


def test_scores_may_leave_the_scale_a_little(file):
    predictions = read_predictions(file(HEADER + "a,-0.9,1.9,5,0,0\nb,0.1,0.2,-2,0.4,0.5\n"))
    assert predictions.scores[0].tolist() == [-0.9, 1.9, 5, 0, 0]


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xff\xfe\x00\x81" * 50)
    with pytest.raises(DataError, match="not UTF-8"):
        read_predictions(path)


def test_a_missing_file_and_an_unwritable_one_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*nowhere\.csv"):
        read_predictions(tmp_path / "nowhere.csv")
    with pytest.raises(UsageError, match="cannot be written"):
        write_predictions(tmp_path / "no" / "p.csv", ["a"], np.zeros((1, 5)))


def test_as_many_samples_as_scores_are_needed(tmp_path):
    with pytest.raises(DataError, match="1 samples and 2 rows"):
        write_predictions(tmp_path / "p.csv", ["a"], np.zeros((2, 5)))
