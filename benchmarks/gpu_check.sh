#!/usr/bin/env bash
# Everything that only a GPU can show, in parts of under 10 minutes each; results in one folder.
#
#     benchmarks/gpu_check.sh probe|build|tests|sanitizer|ops|tune|fps|formats|scene|ped2|all [RESULTS]
#
# Works without a network: wheels are taken from $WHEELS (default: ./wheels) where that folder exists, else what is
# installed must do; an unpacked DALI from $DALI (a folder for PYTHONPATH). torch itself must be installed. fps and formats
# decode with $DECODER: dali, nvdec or pyav (default: dali where it is installed, else nvdec). ped2 trains on UCSD Ped2 in
# the layout "clips" in $PED2 (default: ../shared/data/ped2), three seeds at a time. Not run on a GPU so far.
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
results=$(mkdir -p "${2:-gpu_results}" && cd "${2:-gpu_results}" && pwd)
wheels=${WHEELS:-wheels}
[ -z "${DALI:-}" ] || export PYTHONPATH="$DALI${PYTHONPATH:+:$PYTHONPATH}"

probe() {
  nvidia-smi
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv > "$results/gpu.csv"
  ldconfig -p | grep -E 'libnvcuvid|libcuda\.so' || echo "no NVDEC library in the linker's cache"
  python3 - <<'PY'
import torch
print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.get_device_name(), torch.cuda.get_device_capability())
try:
    import nvidia.dali as dali
    import nvidia.dali.backend as backend
    print("DALI", dali.__version__, "devices", backend.GetCUDADeviceCount())
except ImportError as error:
    print("no DALI:", error)
PY
  python3 - <<'PY' || echo "DALI did not decode an H.264 clip on the GPU"
from pathlib import Path
from nvidia.dali import fn, pipeline_def, types

@pipeline_def(batch_size=1, num_threads=2, device_id=0)
def one(path):
    return fn.experimental.readers.video(
        device="gpu", filenames=[path], sequence_length=64, step=64, pad_mode="constant", image_type=types.YCbCr
    )

pipeline = one(str(next(Path("examples/scene/test").glob("*.mp4"))))
pipeline.build()
print("DALI decoded", pipeline.run()[0].shape())
PY
  python3 - <<'PY' || echo "PyAV did not decode an H.264 clip with NVDEC"
import sys
from pathlib import Path
from aedmae_fast.video.nvdec import NvdecVideo

video = NvdecVideo(next(Path("examples/scene/test").glob("*.mp4")))
if video.refused:
    sys.exit(video.refused)
chunk = next(iter(video))
print("PyAV decoded with NVDEC", [tuple(plane.shape) for plane in chunk.planes], chunk.planes[0].device)
PY
}

build() {
  local what=(--no-deps -e .)
  if [ -d "$wheels" ]; then what=(--no-index --find-links "$wheels" -e '.[test]'); fi
  AEDMAE_CUDA=1 pip install --no-build-isolation "${what[@]}"
  python3 -m aedmae_fast.env | tee "$results/env.txt"
}

tests() {
  FAIL_WITHOUT_CUDA=1 pytest -q --junitxml "$results/tests.xml"
}

sanitizer() {
  compute-sanitizer --tool memcheck --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda tests/ops 2>&1 | tee "$results/sanitizer.txt"
  compute-sanitizer --tool racecheck --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda tests/ops/test_motion_weights_cuda.py 2>&1 | tee "$results/racecheck.txt"
}

decoder() {
  if [ -n "${DECODER:-}" ]; then echo "$DECODER"; elif python3 -c 'import nvidia.dali' 2> /dev/null; then echo dali; else echo nvdec; fi
}

fps() {
  python3 benchmarks/fps.py --device cuda --precision bf16 --clips 8 --frames 250 --decoder "$(decoder)" \
    --json "$results/fps.json"
}

formats() {  # a run each, so that what is done is kept; one round to stay within the time: three for figures to publish
  for each in {640x360,1280x720,1920x1080}:libx26{4,5}; do
    python3 benchmarks/fps.py --device cuda --precision bf16 --clips 1 --frames 120 --rounds 1 --without compile \
      --decoder "$(decoder)" --formats "$each" --json "$results/formats-${each/:/-}.json"
  done
}

ops() {
  python3 benchmarks/ops.py --device cuda --out "$results/ops"
}

tune() {  # stops in time and counts what was not tried: --ops for the rest
  python3 benchmarks/tune.py --minutes 8 --json "$results/tune.json"
}

scene() {
  python3 -m aedmae_fast.train --data examples/scene --layout clips --out "$results/scene" --config shanghaitech \
    --height 64 --width 96 --patch 8 --teacher-epochs 24 --student-epochs 3 --batch-size 16 --lr 1e-3 \
    --schedule cosine --warmup-epochs 1 --optimizer adamw --anomaly-share 0.75 --normal-share 0.75 --clip-norm 1
  python3 -m aedmae_fast.evaluate --data examples/scene --layout clips \
    --checkpoint "$results/scene/model.safetensors" --json "$results/scene.json"
}

ped2() {  # the paper's 800 tokens and 100 + 40 epochs
  python3 benchmarks/ped2.py --data "${PED2:-../shared/data/ped2}" --out "$results/ped2" --at-once 3 \
    --train "--patch 4 --teacher-epochs 100 --student-epochs 40 --batch-size 100 --workers 5" --json "$results/ped2.json"
}

case $part in
  probe | build | tests | sanitizer | ops | tune | fps | formats | scene | ped2) "$part" 2>&1 | tee "$results/$part.log" ;;
  all)
    for each in probe build tests sanitizer ops tune fps formats scene ped2; do
      benchmarks/gpu_check.sh "$each" "$results"
    done
    ;;
  *) echo "unknown part: $part" >&2; exit 2 ;;
esac
