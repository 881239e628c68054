"""Decoded arrays to network inputs, by one code for training and inference."""

from mmperson.inputs.batch import collate
from mmperson.inputs.clip import ClipInputs, prepare_clip
from mmperson.inputs.descriptors import DESCRIPTORS, acoustic_descriptors
from mmperson.inputs.frames import prepare_frames
from mmperson.inputs.log_mel import log_mel
from mmperson.inputs.prosody import PROSODY, prosody
from mmperson.inputs.spec import (
    ColumnSpec,
    DescriptorSpec,
    DialogueSpec,
    FrameSpec,
    InputSpec,
    LogMelSpec,
    ProsodySpec,
    TextSpec,
    WaveformSpec,
)
from mmperson.inputs.text import encode_text, load_tokenizer, tokenizer_sha256
from mmperson.inputs.waveform import to_analysis_rate

__all__ = [
    "DESCRIPTORS",
    "PROSODY",
    "ClipInputs",
    "ColumnSpec",
    "DescriptorSpec",
    "DialogueSpec",
    "FrameSpec",
    "InputSpec",
    "LogMelSpec",
    "ProsodySpec",
    "TextSpec",
    "WaveformSpec",
    "acoustic_descriptors",
    "collate",
    "encode_text",
    "load_tokenizer",
    "log_mel",
    "prepare_clip",
    "prepare_frames",
    "prosody",
    "to_analysis_rate",
    "tokenizer_sha256",
]
