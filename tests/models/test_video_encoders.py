"""Video encoders: frames one by one, networks over space and time, Deep Impression's stream."""

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmperson.config import FramesConfig, ResidualVideoConfig, VideoNetworkConfig
from mmperson.errors import ConfigError
from mmperson.exporting.graph import export_graph
from mmperson.exporting.wrapper import encoder_part
from mmperson.models.encoders.frames import FramesEncoder, NormaliseFrames, image_network
from mmperson.models.encoders.residual import ResidualVideoEncoder
from mmperson.models.encoders.video_network import VideoNetworkEncoder
from mmperson.models.pretrained import BackboneEncoder
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.collate import VIDEO_SHOWN, deduplicate_frames
from mmperson.preprocessing.spec import FrameSpec
from tests.fixtures.encoders import (
    check_alone_and_together,
    check_export,
    check_frozen,
    check_gradients,
)

BACKBONE = "test_efficientnet"


def frame_spec(count=4, size=32, views=("scene",)):
    return FrameSpec(views=views, count=count, short_side=size, height=size, width=size)


def draw_clips(spec, batch=2):
    """Noise of a level of its own per clip, the last frame of the second clip missing."""
    random = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (batch, *spec.shape), generator=random).float()
    x = (x * torch.linspace(0.3, 1.0, batch).reshape(-1, 1, 1, 1, 1)).to(torch.uint8)
    mask = torch.ones(batch, spec.shape[0])
    mask[1, -1] = 0
    return x, mask


def frames(views=("scene",), count=4, size=32, pretrained=True, **options):
    torch.manual_seed(0)
    options = {"backbone": BACKBONE, "dim": 16, "dropout": 0.0, **options}
    spec = frame_spec(count, size, views)
    config = FramesConfig(views=views, frames=count, size=size, **options)
    return FramesEncoder(config, spec, pretrained=pretrained), spec


def residual(count=3, size=64):
    torch.manual_seed(0)
    spec = frame_spec(count, size)
    return ResidualVideoEncoder(ResidualVideoConfig(frames=count, size=size), spec), spec


def stand_in(trainable=True, count=17):
    """The real encoder around a network of two layers, with r3d_18's strides over time."""
    torch.manual_seed(0)
    spec = frame_spec(count, 16)
    config = VideoNetworkConfig(
        network="r3d_18", frames=count, size=32, dim=16, dropout=0.0, trainable=trainable
    )
    encoder = VideoNetworkEncoder.__new__(VideoNetworkEncoder)
    network = nn.Sequential(
        nn.Conv3d(3, 6, 3, stride=(8, 1, 1), padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool3d((-(-count // 8), 1, 1)), nn.Flatten(),
    )  # fmt: skip
    BackboneEncoder.__init__(encoder, network, 6, config)
    encoder.normalise = NormaliseFrames(spec)
    return encoder, spec


@pytest.mark.parametrize("views", [("scene",), ("scene", "face")])
@pytest.mark.parametrize("attention", [True, False])
def test_frames_alone_and_together(views, attention):
    encoder, spec = frames(views, attention=attention)
    x, mask = draw_clips(spec, batch=3)
    check_alone_and_together(encoder, x, mask)
    assert encoder(x, mask).values.shape == (3, 4 * len(views), 16)


def test_frames_train_all_or_only_what_is_after_the_backbone(tmp_path):
    encoder, spec = frames(("scene", "face"))
    check_gradients(encoder, *draw_clips(spec))
    save_file(encoder.backbone.state_dict(), tmp_path / "model.safetensors")
    frozen, _ = frames(("scene", "face"), weights=str(tmp_path), trainable=False)
    check_gradients(frozen, *draw_clips(spec))
    check_frozen(frozen, *draw_clips(spec))


def test_a_frame_that_is_not_there_is_not_seen():
    encoder, spec = frames()
    x, mask = draw_clips(spec)
    before = encoder.eval()(x, mask).values
    x[1, -1] = 255 - x[1, -1]
    torch.testing.assert_close(encoder(x, mask).values[1, :-1], before[1, :-1])
    mask[1, -1] = 1
    assert (encoder(x, mask).values[1, :-1] - before[1, :-1]).abs().max() > 1e-6


def test_missing_frames_leave_the_statistics_of_training_alone():
    encoder, spec = frames()
    x, mask = draw_clips(spec)
    mask[1, 1:] = 0
    encoder.train()(x, mask)
    other, _ = frames()
    x[1, 1:] = 0
    other.train()(x, mask)
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, other.backbone.state_dict()[name]), name


def test_frames_attend_to_each_other():
    x, mask = draw_clips(frame_spec())
    changed = x.clone()
    changed[:, 0] = 255 - changed[:, 0]
    for attention in (True, False):
        encoder, _ = frames(attention=attention)
        encoder.eval()
        difference = (encoder(x, mask).values - encoder(changed, mask).values)[:, 1:].abs().max()
        assert (difference > 1e-6) == attention


def test_a_frame_knows_its_time_and_its_view():
    # Where the frames look alike, a token tells the time by what it reads of the others.
    encoder, _ = frames(("scene", "face"))
    nn.init.normal_(encoder.view)
    same = Tokens(torch.randn(1, 1, encoder.feature_dim).expand(1, 8, -1), torch.ones(1, 8))
    values = encoder.eval().adapt(same).values[0]
    assert (values[0] - values[3]).abs().max() > 1e-4
    assert (values[0] - values[4]).abs().max() > 1e-4
    # The same share of the clip is the same position, however many frames there are.
    times = torch.tensor([0.25, 0.75])
    attend = encoder.attend
    few = attend(values[None, :2], torch.ones(1, 2), times)
    repeated = attend(values[None, [0, 0, 1, 1]], torch.ones(1, 4), times[[0, 0, 1, 1]])
    torch.testing.assert_close(repeated[:, ::2], few)


def test_other_numbers_of_frames_are_taken():
    encoder, spec = frames(("scene", "face"))
    x, mask = draw_clips(spec)
    assert encoder(x[:, [0, 4]], mask[:, [0, 4]]).values.shape == (2, 2, 16)


@pytest.mark.slow
def test_frames_export_for_any_number_of_frames():
    encoder, spec = frames(count=2)
    check_export(encoder, *draw_clips(spec), frames=True)


@pytest.mark.slow
def test_two_views_of_a_transformer_export():
    encoder, spec = frames(("scene", "face"), count=2, size=64, backbone="test_vit")
    check_export(encoder, *draw_clips(spec))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (frames, {"views": ("scene", "face"), "count": 3}),
        (frames, {"count": 2, "size": 64, "backbone": "test_vit"}),
        (frames, {"count": 1}),
        (residual, {"count": 3}),
    ],
)
def test_a_graph_sees_a_repeated_frame_once(make, options):
    encoder, spec = make(**options)
    x, mask = draw_clips(spec)
    part = encoder_part("video", encoder.eval(), {"video": x, "video_mask": mask})
    session = onnxruntime.InferenceSession(export_graph(part, {}).SerializeToString())
    x = torch.cat([x, x[:1]])
    x[1] = x[1, :1]  # a still picture
    x[2, -1] = x[2, 0]
    mask = torch.cat([mask, mask[:1]])
    for clips in (slice(0, 3), slice(1, 2), slice(2, 3)):
        given = deduplicate_frames({"video": x[clips].numpy()})
        pictures = [len(row.unique(dim=0)) for row in x[clips]]
        assert given["video"].shape[1] == max(pictures)
        assert [len(set(row)) for row in given[VIDEO_SHOWN].tolist()] == pictures
        found = session.run(None, {**given, "video_mask": mask[clips].numpy()})
        with torch.inference_mode():
            expected = encoder(x[clips], mask[clips])
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(value), wanted, atol=1e-4, rtol=0)


def test_a_transformer_takes_another_size_of_picture(tmp_path):
    source = image_network("test_vit")
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    encoder, spec = frames(size=64, backbone="test_vit", weights=str(tmp_path))
    x, mask = draw_clips(spec)
    assert encoder(x, mask).values.shape == (2, 4, 16)
    bare, _ = frames(size=64, backbone="test_vit", pretrained=False)
    bare.load_state_dict(encoder.state_dict())


def test_weights_come_with_their_classifier(tmp_path):
    import timm

    source = timm.create_model(BACKBONE, num_classes=7)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    encoder, _ = frames(weights=str(tmp_path))
    assert torch.equal(encoder.backbone.conv_stem.weight, source.conv_stem.weight)
    with pytest.raises(ConfigError, match="does not fit ResNet"):
        frames(weights=str(tmp_path), backbone="test_resnet")


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'resnet18'"):
        frames(backbone="resnet_18")


def test_a_checkpoint_needs_no_weights():
    encoder, _ = frames(weights="nowhere", trainable=False, pretrained=False)
    assert encoder.frozen
    with pytest.raises(ConfigError, match="nowhere"):
        frames(weights="nowhere", trainable=False)


def test_frames_are_normalised_on_the_scale_of_the_spec():
    spec = FrameSpec(mean=(0.5, 0.4, 0.2), std=(0.5, 0.2, 0.1))
    x = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1).expand(1, 2, 3, 4, 4)
    normal = NormaliseFrames(spec)(x)
    expected = torch.tensor([[-1.0, -2.0, -2.0], [1.0, 3.0, 8.0]])
    torch.testing.assert_close(normal[0, :, :, 0, 0], expected)


def test_a_video_network_gives_a_token_per_step_of_time():
    encoder, spec = stand_in()
    x, mask = draw_clips(spec)
    check_alone_and_together(encoder, x, mask)
    mask[1, 5:] = 0
    before, real = encoder(x, mask)
    assert real.tolist() == [[1, 1, 1], [1, 0, 0]]
    x[1, 5:] = 0
    torch.testing.assert_close(encoder(x, mask).values, before)


def test_a_video_network_trains_or_not():
    encoder, spec = stand_in()
    check_gradients(encoder, *draw_clips(spec))
    frozen, _ = stand_in(trainable=False)
    check_frozen(frozen, *draw_clips(spec))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "count", "size", "tokens"),
    [("r3d_18", 9, 32, 2), ("mvit_v2_s", 16, 224, 1), ("swin3d_t", 4, 32, 1)],
)
def test_torchvision_networks(network, count, size, tokens):
    config = VideoNetworkConfig(network=network, frames=count, size=size, dim=8)
    encoder = VideoNetworkEncoder(config, spec := frame_spec(count, size), pretrained=False).eval()
    x, mask = draw_clips(spec)
    with torch.inference_mode():
        features = encoder.features(x[:1], mask[:1])
        assert features.values.shape == (1, tokens, encoder.feature_dim)
        assert features.values.std(dim=2).min() > 1e-4
        assert encoder.adapt(features).values.shape == (1, tokens, 8)


def test_a_network_with_learned_positions_takes_one_size():
    config = VideoNetworkConfig(network="mvit_v2_s", frames=8, size=224)
    with pytest.raises(ConfigError, match="16 frames of 224 x 224 pixels, not 8 of 224"):
        VideoNetworkEncoder(config, frame_spec(8, 224), pretrained=False)


def test_a_video_network_reads_weights_with_a_classifier(tmp_path):
    from torchvision.models.video import swin3d_t

    source = swin3d_t(weights=None)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    config = VideoNetworkConfig(
        network="swin3d_t", weights=str(tmp_path), frames=2, size=32, trainable=False
    )
    encoder = VideoNetworkEncoder(config, spec := frame_spec(2, 32))
    x, mask = draw_clips(spec)
    clip = encoder.normalise(x[:1]).transpose(1, 2)
    source.head = nn.Identity()
    with torch.inference_mode():
        expected = source.eval()(clip)
        torch.testing.assert_close(encoder.features(x[:1], mask[:1]).values[:, 0], expected)


@pytest.mark.slow
def test_a_video_network_exports():
    config = VideoNetworkConfig(network="r3d_18", frames=9, size=32, dim=8)
    encoder = VideoNetworkEncoder(config, spec := frame_spec(9, 32), pretrained=False)
    check_export(encoder, *draw_clips(spec))


def test_the_visual_stream_is_the_published_one():
    encoder, spec = residual(size=224, count=1)
    layers = [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] > 1]
    assert len(layers) == 17
    assert [m.out_channels for m in layers] == [32] + [32] * 4 + [64] * 4 + [128] * 4 + [256] * 4
    maps = []
    encoder.body[-2].register_forward_hook(lambda module, given, said: maps.append(given[0].shape))
    with torch.inference_mode():
        encoder.eval()(*draw_clips(spec))
    assert maps == [(2, 256, 7, 7)]


def test_the_visual_stream_alone_and_together():
    encoder, spec = residual()
    x, mask = draw_clips(spec, batch=3)
    check_alone_and_together(encoder, x, mask)
    assert encoder(x, mask).values.shape == (3, 3, 256)
    check_gradients(encoder, x, mask)


@pytest.mark.slow
def test_the_visual_stream_exports():
    encoder, spec = residual(count=2)
    check_export(encoder, *draw_clips(spec), frames=True)
