#!/bin/sh
# Make a virtual environment per peer, 3 GB and 2 GB, outside the repository:
#
#   sh benchmarks/peers/setup.sh FOLDER [PYTHON]
#
# PYTHON is a Python 3.11 and defaults to python3.11. No weights are fetched: the peers' are no packages.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?"give a folder outside the repository"}
python=${2:-python3.11}
for peer in oceanai deep_personality; do
    "$python" -m venv "$folder/$peer"
    "$folder/$peer/bin/pip" install --extra-index-url https://download.pytorch.org/whl/cpu -r "$here/$peer.txt"
    # PyPI's torchaudio is compiled for CUDA and cannot be imported beside a torch without; neither peer calls
    # what is compiled in it. A build for the CPU stays as it is.
    "$folder/$peer/bin/python" -c 'import torchaudio' 2>/dev/null || rm -f "$folder/$peer"/lib/python*/site-packages/torchaudio/lib/*.so
    # Both peers call `ffmpeg`; the scripts beside this one put the environment's bin/ first on PATH.
    ffmpeg=$("$folder/$peer/bin/python" -c "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())")
    ln -sf "$ffmpeg" "$folder/$peer/bin/ffmpeg"
done
