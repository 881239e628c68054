"""Turn decoded arrays into network inputs, with one code for training and inference."""

from mmperson.preprocessing.audio.descriptors import DESCRIPTORS, acoustic_descriptors
from mmperson.preprocessing.audio.log_mel import log_mel
from mmperson.preprocessing.audio.prosody import PROSODY, prosody
from mmperson.preprocessing.audio.waveform import to_analysis_rate
from mmperson.preprocessing.clip import ClipInputs, prepare_clip
from mmperson.preprocessing.collate import collate
from mmperson.preprocessing.spec import (
    ColumnSpec,
    DescriptorSpec,
    DialogueSpec,
    FrameSpec,
    InputSpec,
    LibrosaSpec,
    LogMelSpec,
    ProsodySpec,
    TextSpec,
    WaveformSpec,
)
from mmperson.preprocessing.text.encode import load_tokenizer, tokenizer_sha256
from mmperson.preprocessing.video.frames import prepare_frames

__all__ = [
    "DESCRIPTORS",
    "PROSODY",
    "ClipInputs",
    "ColumnSpec",
    "DescriptorSpec",
    "DialogueSpec",
    "FrameSpec",
    "InputSpec",
    "LibrosaSpec",
    "LogMelSpec",
    "ProsodySpec",
    "TextSpec",
    "WaveformSpec",
    "acoustic_descriptors",
    "collate",
    "load_tokenizer",
    "log_mel",
    "prepare_clip",
    "prepare_frames",
    "prosody",
    "to_analysis_rate",
    "tokenizer_sha256",
]
