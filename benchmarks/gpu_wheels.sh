#!/usr/bin/env bash
# Fetches the wheels that gpu_check.sh needs on a GPU machine without a network, and says how large they are.
#
#     benchmarks/gpu_wheels.sh [FOLDER [NAME...]]
#
# FOLDER is ./wheels by default. The default names are what images with PyTorch and the usual scientific packages lack or
# may have too old: PyAV, with the FFmpeg 8 that video/nvdec.py was written against, what DALI imports, and what builds.
# Nothing that a name depends on is fetched; `gpu_check.sh build` lists what is missing still. For CPython
# ${PYTHON:-3.12} on x86-64.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-wheels}
names=("${@:2}")
[ ${#names[@]} -gt 0 ] || names=('av>=18,<19' astunparse gast optree six 'pybind11>=3' 'setuptools>=77,<82')
platforms=(--platform manylinux2014_x86_64)
for glibc in 17 24 27 28 31 34; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
python3 -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "${PYTHON:-3.12}" \
  "${platforms[@]}" --dest "$folder" "${names[@]}"
du -ch --apparent-size "$folder"/*.whl
