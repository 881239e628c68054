"""Decoded arrays to network inputs, by one code for training and inference."""

from mmperson.inputs.clip import ClipInputs, prepare_clip
from mmperson.inputs.descriptors import DESCRIPTORS, acoustic_descriptors
from mmperson.inputs.frames import prepare_frames
from mmperson.inputs.spec import DescriptorSpec, FrameSpec, InputSpec, TextSpec
from mmperson.inputs.text import encode_text, load_tokenizer, tokenizer_sha256
from mmperson.inputs.waveform import to_analysis_rate

__all__ = [
    "DESCRIPTORS",
    "ClipInputs",
    "DescriptorSpec",
    "FrameSpec",
    "InputSpec",
    "TextSpec",
    "acoustic_descriptors",
    "encode_text",
    "load_tokenizer",
    "prepare_clip",
    "prepare_frames",
    "to_analysis_rate",
    "tokenizer_sha256",
]
