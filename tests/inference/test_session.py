"""What a graph is given."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmperson.inference.session import Session

SPEC_HASH = "0" * 64


def told(*names):
    """A graph that says how large its pictures are, and what else it is given."""
    kinds = {"video": TensorProto.UINT8, "video_shown": TensorProto.INT64}
    shapes = {"video": ["batch", "picture", 3, 2, 2], "video_shown": ["batch", "frame"]}
    inputs = [helper.make_tensor_value_info(name, kinds[name], shapes[name]) for name in names]
    nodes = [helper.make_node("Shape", ["video"], ["size"])]
    outputs = [helper.make_tensor_value_info("size", TensorProto.INT64, [5])]
    if "video_shown" in names:
        nodes.append(helper.make_node("Identity", ["video_shown"], ["shown"]))
        outputs.append(helper.make_tensor_value_info("shown", TensorProto.INT64, shapes[names[1]]))
    graph = helper.make_graph(nodes, "told", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    model.metadata_props.add(key="mmperson.spec_hash", value=SPEC_HASH)
    onnx.checker.check_model(model)
    return Session(model.SerializeToString(), "told.onnx", SPEC_HASH, threads=1)


@pytest.fixture
def batch():
    """Two clips: four frames of which two differ, and a still picture."""
    levels = np.array([[7, 3, 7, 7], [5, 5, 5, 5]], dtype=np.uint8)
    return {"video": np.broadcast_to(levels[..., None, None, None], (2, 4, 3, 2, 2))}


def test_a_graph_that_looks_at_pictures_gets_each_once(batch):
    answers = told("video", "video_shown").run(batch)
    assert answers["size"].numpy().tolist() == [2, 2, 3, 2, 2]
    assert answers["shown"].numpy().tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]


def test_a_graph_that_looks_at_a_clip_gets_every_frame(batch):
    answers = told("video").run(batch)
    assert answers["size"].numpy().tolist() == [2, 4, 3, 2, 2]
