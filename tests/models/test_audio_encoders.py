"""Audio encoders: log-mel spectrograms, pretrained speech networks, Deep Impression's stream."""

import json
import math

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    HubertConfig,
    Wav2Vec2Config,
    WavLMConfig,
)

from mmperson.config import LogMelConfig, ResidualAudioConfig, WaveformConfig
from mmperson.errors import ConfigError
from mmperson.models.encoders.log_mel import LogMelEncoder
from mmperson.models.encoders.residual import ResidualAudioEncoder
from mmperson.models.encoders.voice import VoiceNetwork
from mmperson.models.encoders.waveform import WaveformEncoder
from mmperson.models.layers.masked import MaskedBatchNorm
from mmperson.preprocessing.spec import LogMelSpec, WaveformSpec
from tests.fixtures.encoders import (
    check_alone_and_together,
    check_export,
    check_frozen,
    check_gradients,
)

RATE_HZ = 16_000
SIZES = {
    "extractor_conv_layer_config": [(8, 10, 5), (8, 3, 4), (8, 3, 4)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 32,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_drop": 0.0,
    "aux_num_out": None,
}
BASE = {**SIZES, "extractor_mode": "group_norm", "encoder_layer_norm_first": False}
LARGE = {**SIZES, "extractor_mode": "layer_norm", "encoder_layer_norm_first": True}
WAVLM = {**BASE, "encoder_max_distance": 20, "encoder_num_buckets": 8}
PIPELINES = {
    "TINY_BASE": (BASE, False, "Wav2Vec2"),
    "TINY_LARGE": (LARGE, True, "Wav2Vec2"),
    "TINY_WAVLM": (WAVLM, False, "WavLM"),
}
KIN = {
    "wav2vec2": (Wav2Vec2Config, False),
    "hubert": (HubertConfig, False),
    "wav2vec2-large": (Wav2Vec2Config, True),
    "wavlm": (WavLMConfig, True),
}


@pytest.fixture(autouse=True)
def pipelines(monkeypatch):
    """Pipelines of torchaudio that are tiny."""
    for name, (shape, scaled, kind) in PIPELINES.items():
        bundle = torchaudio.pipelines.Wav2Vec2Bundle("", shape, RATE_HZ, scaled, kind)
        monkeypatch.setattr(torchaudio.pipelines, name, bundle, raising=False)


def draw_sound(window_s=1.0, lengths=(1.0, 0.6), seed=1):
    """Noise of several lengths in one window. Returns waveforms and their mask."""
    random = torch.Generator().manual_seed(seed)
    samples = round(window_s * RATE_HZ)
    x, mask = torch.zeros(2, len(lengths), samples)
    for i, length in enumerate(lengths):
        real = round(length * RATE_HZ)
        x[i, :real] = (0.1 + 0.1 * i) * torch.randn(real, generator=random) + 0.05
        mask[i, :real] = 1
    return x, mask


def draw_mel(window_s=2.0, lengths=(2.0, 1.1), mels=16):
    """Noise as spectrograms of several lengths, and their mask."""
    spec = LogMelSpec(window_s=window_s, n_mels=mels)
    random = torch.Generator().manual_seed(1)
    x = -9.5 + 4.0 * torch.randn(len(lengths), *spec.shape, generator=random)
    mask = torch.zeros(x.shape[:2])
    for row, length in zip(mask, lengths, strict=True):
        row[: round(100 * length)] = 1
    return x * mask.unsqueeze(-1), mask


def log_mel(backbone="small", window_s=2.0, mels=16, pretrained=True, **options):
    torch.manual_seed(0)
    options = {"dim": 12, "dropout": 0.0, **options}
    config = LogMelConfig(backbone=backbone, window_s=window_s, mels=mels, **options)
    spec = LogMelSpec(window_s=window_s, n_mels=mels)
    return LogMelEncoder(config, spec, pretrained=pretrained)


def waveform(network, window_s=1.0, pretrained=True, **options):
    torch.manual_seed(0)
    options = {"dim": 12, "dropout": 0.0, "stride": 5, "trainable": True, **options}
    config = WaveformConfig(network=network, window_s=window_s, **options)
    return WaveformEncoder(config, WaveformSpec(window_s=window_s), pretrained=pretrained)


def residual(window_s=1.0):
    torch.manual_seed(0)
    return ResidualAudioEncoder(
        ResidualAudioConfig(window_s=window_s), WaveformSpec(window_s=window_s)
    )


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Random models of the wav2vec 2.0 family in the layout of Hugging Face, by name."""
    made = {}
    for name, (settings, stable) in KIN.items():
        torch.manual_seed(0)
        shape = settings(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
            conv_dim=(8, 8, 8), conv_kernel=(10, 3, 3), conv_stride=(5, 4, 4),
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2, do_stable_layer_norm=stable,
            feat_extract_norm="layer" if stable else "group",
            hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
            feat_proj_dropout=0.0, layerdrop=0.0, num_feat_extract_layers=3,
        )  # fmt: skip
        made[name] = folder = tmp_path_factory.mktemp(name)
        AutoModel.from_config(shape).save_pretrained(folder)
        facts = {"do_normalize": stable, "sampling_rate": RATE_HZ}
        (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return made


def check_length_of_window(encoder, x, mask):
    """Each clip's tokens are what they are without its padding."""
    encoder.eval()
    with torch.inference_mode():
        values, real = encoder(x, mask)
        for i in range(len(x)):
            length = int(mask[i].sum())
            alone = encoder(x[i : i + 1, :length], mask[i : i + 1, :length])
            kept = int(real[i].sum())
            assert kept == alone.mask.sum()
            torch.testing.assert_close(alone.values[0, :kept], values[i, :kept], atol=1e-4, rtol=0)
        x = x + (1.0 - mask.reshape(*mask.shape, *[1] * (x.ndim - 2)))
        torch.testing.assert_close(encoder(x, mask).values * real.unsqueeze(-1),
                                   values * real.unsqueeze(-1))  # fmt: skip


def test_batch_statistics_leave_padding_out():
    x = 3.0 + 2.0 * torch.randn(2, 4, 10)
    mask = torch.ones(2, 1, 10)
    mask[1, :, 6:] = 0
    masked, plain = MaskedBatchNorm(4), nn.BatchNorm1d(4)
    real = torch.cat([x[0], x[1, :, :6]], dim=1).unsqueeze(0)
    expected = plain(real)[0]
    found = masked(x, mask)
    torch.testing.assert_close(torch.cat([found[0], found[1, :, :6]], dim=1), expected)
    assert (found[1, :, 6:] == 0).all()
    torch.testing.assert_close(masked.running_mean, plain.running_mean)
    torch.testing.assert_close(masked.running_var, plain.running_var)
    found = masked.eval()(x, mask)
    torch.testing.assert_close(found[1, :, :6], plain.eval()(x[1:, :, :6])[0])
    assert (found[1, :, 6:] == 0).all()


@pytest.mark.parametrize("backbone", ["small", "test_efficientnet"])
def test_log_mel_alone_and_together(backbone):
    encoder = log_mel(backbone)
    x, mask = draw_mel()
    check_alone_and_together(encoder, x, mask)
    check_gradients(encoder, x, mask)


@pytest.mark.parametrize("window_s", [1.0, 10.0, 120.0])
@pytest.mark.parametrize("backbone", ["small", "test_efficientnet"])
def test_log_mel_gives_at_most_sixteen_tokens(backbone, window_s):
    encoder = log_mel(backbone, window_s=window_s).eval()
    x, mask = draw_mel(window_s, [window_s])
    with torch.inference_mode():
        tokens = encoder(x, mask)
    assert 2 <= tokens.values.shape[1] <= 16
    assert tokens.mask[:, :-1].all()


def test_log_mel_leaves_padding_out():
    # Whole groups and segments, so that the same are made without padding.
    check_length_of_window(log_mel(), *draw_mel(2.55, [2.55, 1.28]))
    check_length_of_window(log_mel("test_efficientnet"), *draw_mel(2.87, [2.88, 1.92]))


def test_a_frozen_image_network_hears(tmp_path):
    colours = log_mel("test_efficientnet").backbone.network.state_dict()
    colours["conv_stem.weight"] = colours["conv_stem.weight"].repeat(1, 3, 1, 1) / 3
    save_file(colours, tmp_path / "model.safetensors")
    frozen = log_mel("test_efficientnet", weights=str(tmp_path), trainable=False)
    check_frozen(frozen, *draw_mel())
    same = log_mel("test_efficientnet").eval()
    torch.testing.assert_close(
        frozen.features(*draw_mel()).values, same.features(*draw_mel()).values
    )


@pytest.mark.parametrize("options", [{"trainable": False}, {"weights": "somewhere"}])
def test_the_small_network_is_trained_from_scratch(options):
    with pytest.raises(ConfigError, match="trained from scratch"):
        log_mel(**options)


@pytest.mark.slow
def test_log_mel_exports():
    check_export(log_mel(), *draw_mel())


@pytest.mark.parametrize("network", PIPELINES)
def test_pipelines_alone_and_together(network):
    encoder = waveform(network)
    x, mask = draw_sound()
    check_alone_and_together(encoder, x, mask)
    check_gradients(encoder, x, mask)


@pytest.mark.parametrize("network", PIPELINES)
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_pipelines_say_what_torchaudio_says(network, layer):
    encoder = waveform(network, layer=layer, stride=1).eval()
    shape, scaled, kind = PIPELINES[network]
    torch.manual_seed(0)
    make = {"Wav2Vec2": torchaudio.models.wav2vec2_model, "WavLM": torchaudio.models.wavlm_model}
    theirs = make[kind](**shape).eval()
    x, mask = draw_sound(lengths=[1.0])
    given = nn.functional.layer_norm(x, x.shape) if scaled else x
    with torch.inference_mode():
        states, _ = theirs.extract_features(given, num_layers=layer or None)
        expected = theirs(given)[0] if layer == 0 else states[-1]
        features = encoder.features(x, mask)
    torch.testing.assert_close(features.values, expected, atol=1e-5, rtol=0)
    assert features.mask.all()


@pytest.mark.parametrize("network", PIPELINES)
def test_pipelines_leave_padding_out(network):
    check_length_of_window(waveform(network), *draw_sound())


def test_a_pipeline_reads_its_weights(tmp_path):
    torch.manual_seed(5)
    source = torchaudio.models.wav2vec2_model(**{**BASE, "aux_num_out": 4})
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    encoder = waveform("TINY_BASE", weights=str(tmp_path), trainable=False, stride=1)
    x, mask = draw_sound(lengths=[1.0])
    expected = source.eval().extract_features(x)[0][-1]
    torch.testing.assert_close(encoder.features(x, mask).values, expected, atol=1e-5, rtol=0)
    check_frozen(encoder, *draw_sound())


def test_what_torchaudio_does_not_have_is_reported():
    with pytest.raises(ConfigError, match="Did you mean 'WAVLM_BASE"):
        waveform("WAVLM_BASE_PUS")
    with pytest.raises(ConfigError, match="no speech pipeline called 'SQUIM_OBJECTIVE'"):
        waveform("SQUIM_OBJECTIVE")
    with pytest.raises(ConfigError, match=r"audio\.layer is 4.* 1 to 3"):
        waveform("TINY_BASE", layer=4)


@pytest.mark.parametrize("name", KIN)
def test_transformers_alone_and_together(folders, name):
    encoder = waveform("transformers", weights=str(folders[name]))
    x, mask = draw_sound()
    check_alone_and_together(encoder, x, mask)
    check_length_of_window(encoder, x, mask)
    check_gradients(encoder, x, mask)


@pytest.mark.parametrize("name", KIN)
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_transformers_say_what_their_library_says(folders, name, layer):
    encoder = waveform(
        "transformers", weights=str(folders[name]), layer=layer, stride=1, trainable=False
    )
    theirs = AutoModel.from_pretrained(folders[name]).eval()
    x, mask = draw_sound(lengths=[1.0])
    given = (x - x.mean()) / x.std() if KIN[name][1] else x
    with torch.inference_mode():
        said = theirs(given, output_hidden_states=True)
        expected = said.hidden_states[layer] if layer else said.last_hidden_state
        features = encoder.features(x, mask)
    torch.testing.assert_close(features.values, expected, atol=1e-4, rtol=0)


def test_transformers_of_other_families_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"audio\.weights names no model"):
        waveform("transformers")
    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                         intermediate_size=8, vocab_size=9)).save_pretrained(tmp_path)  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"'bert'.*wav2vec2, hubert, wavlm"):
        waveform("transformers", weights=str(tmp_path))


def test_a_checkpoint_needs_the_shape_and_no_weights(folders, tmp_path):
    encoder = waveform("transformers", weights=str(folders["hubert"]), trainable=False)
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_bytes((folders["hubert"] / file).read_bytes())
    bare = waveform("transformers", weights=str(tmp_path), trainable=False, pretrained=False)
    bare.load_state_dict(encoder.state_dict())
    assert torch.equal(bare(*draw_sound()).values, encoder(*draw_sound()).values)
    waveform("TINY_BASE", trainable=False, pretrained=False)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["TINY_BASE", "TINY_WAVLM", "hubert"])
def test_speech_networks_export(folders, network):
    options = {"weights": str(folders["hubert"])} if network == "hubert" else {}
    check_export(
        waveform("transformers" if options else network, **options), *draw_sound(0.5, [0.5, 0.3])
    )


@pytest.mark.slow
def test_voice_alone_and_together():
    encoder = waveform("resemblyzer", window_s=5.0, stride=1)
    x, mask = draw_sound(5.0, [5.0, 3.3, 1.0, 0.05])
    check_alone_and_together(encoder, x, mask)
    check_length_of_window(encoder, x, mask)
    check_gradients(encoder, x, mask)
    assert encoder(x, mask).mask.sum(dim=1).tolist() == [6, 4, 1, 1]


@pytest.mark.slow
def test_voice_reads_the_mel_spectra_of_librosa():
    x, mask = draw_sound(lengths=[1.0])
    spectra, real = VoiceNetwork()._spectra(x, mask)
    expected = librosa.feature.melspectrogram(
        y=x[0].numpy(), sr=RATE_HZ, n_fft=400, hop_length=160, n_mels=40
    ).T
    np.testing.assert_allclose(spectra[0, : len(expected)], expected, rtol=1e-3, atol=1e-5)
    assert real.sum() == 100


def test_voice_raises_quiet_sound_and_leaves_loud_sound():
    x, mask = draw_sound(lengths=[1.0])
    network = VoiceNetwork()
    quiet = x * 1e-3
    spectra, _ = network._spectra(quiet, mask)
    raised = quiet * (10 ** (-30 / 20) / quiet.square().mean().sqrt())
    torch.testing.assert_close(spectra, network._spectra(raised, mask)[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(network._spectra(2 * x, mask)[0], 4 * network._spectra(x, mask)[0])


@pytest.mark.slow
def test_voice_exports():
    check_export(waveform("resemblyzer", window_s=2.0, stride=1), *draw_sound(2.0, [2.0, 1.2]))


def test_the_auditory_stream_is_the_published_one():
    encoder = residual()
    layers = [m for m in encoder.modules() if isinstance(m, nn.Conv1d) and m.kernel_size[0] > 1]
    assert [m.kernel_size[0] for m in layers] == [49] + [9] * 16
    assert [m.out_channels for m in layers] == [32] + [32] * 4 + [64] * 4 + [128] * 4 + [256] * 4
    assert math.prod(m.stride[0] for m in layers) * encoder.pool.stride == 1024
    sizes = []
    encoder.blocks[-1].register_forward_hook(lambda module, given, said: sizes.append(said[0]))
    with torch.inference_mode():
        encoder.eval()(*draw_sound(50_176 / RATE_HZ, [1.0]))
    assert sizes[0].shape == (1, 256, 49)


def test_the_auditory_stream_alone_and_together():
    encoder = residual()
    x, mask = draw_sound()
    check_gradients(encoder, x, mask)
    check_alone_and_together(encoder, x, mask)
    check_length_of_window(encoder, x, mask)
    assert encoder(x, mask).values.shape == (2, 1, 256)


@pytest.mark.slow
def test_the_auditory_stream_exports():
    check_export(residual(), *draw_sound())


@pytest.mark.parametrize("network", ["small", "residual", "TINY_BASE", "resemblyzer"])
def test_absent_sound_stays_a_number(network):
    if network == "small":
        encoder, x = log_mel(), torch.zeros(2, 201, 16)
    else:
        encoder = residual() if network == "residual" else waveform(network)
        x = torch.zeros(2, RATE_HZ)
    mask = torch.zeros(x.shape[:2])
    mask[:, 0] = 1
    for mode in (True, False):
        values, real = encoder.train(mode)(x, mask)
        assert values.isfinite().all()
        assert real[:, 0].all()
