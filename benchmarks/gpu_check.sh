#!/usr/bin/env bash
# Everything that only a GPU can show, in parts of under 10 minutes each; results in one folder.
#
#     benchmarks/gpu_check.sh build|probe|tests|fps|ops|tune|compiled|scene|sanitizer|formats|ped2|all [RESULTS]
#
# Works without a network: torch must be installed; what else is missing is installed from $WHEELS (default: ./wheels,
# which gpu_wheels.sh fills) where that folder exists; an unpacked DALI is taken from $DALI (a folder for PYTHONPATH).
# Where the tree was copied without its history, $AEDMAE_COMMIT is the commit that the results carry. fps, compiled and
# formats decode with $DECODER (dali, nvdec or pyav), by default with what probe found to work. ped2 trains on UCSD Ped2
# in the layout "clips" in $PED2 (default: ../shared/data/ped2), three seeds at a time. Not run on a GPU so far.
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
results=$(mkdir -p "${2:-gpu_results}" && cd "${2:-gpu_results}" && pwd)
wheels=${WHEELS:-wheels}
[ -z "${DALI:-}" ] || export PYTHONPATH="$DALI${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1  # a part that is stopped has said what it did

build() {
  if [ -d "$wheels" ]; then python3 -m pip install --no-index --no-deps "$wheels"/*.whl; fi
  AEDMAE_CUDA=1 python3 -m pip install --no-index --no-deps --no-build-isolation -e .
  python3 -m aedmae_fast.env | tee "$results/env.txt"
  if python3 -m pip check | grep '^aedmae-fast '; then
    echo "the above are missing: benchmarks/gpu_wheels.sh fetches them" >&2
    return 1
  fi
}

probe() {
  nvidia-smi
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv > "$results/gpu.csv"
  ldconfig -p | grep -E 'libnvcuvid|libcuda\.so' || echo "no NVDEC library in the linker's cache"
  python3 -m aedmae_fast.env
  local works=pyav each
  for each in nvdec dali; do
    if decodes "$each"; then works=$each; else echo "decoder $each does not work"; fi
  done
  echo "$works" | tee "$results/decoder.txt"
}

decodes() {  # an H.264 clip to its end, in hardware, as software does
  python3 - "$1" <<'PY'
import sys
from pathlib import Path

import torch

from aedmae_fast.video import open_video

path = next(Path("examples/scene/test").glob("*.mp4"))
video = open_video(path, sys.argv[1], "cuda")
if video.info.decoder != sys.argv[1]:
    sys.exit(f"decoded by {video.info.decoder}")
luma, expected = (torch.cat([chunk.planes[0].cpu() for chunk in v]) for v in (video, open_video(path, "pyav", "cpu")))
print(sys.argv[1], tuple(luma.shape), "as in software:", torch.equal(luma, expected), getattr(video, "note", ""))
sys.exit(not torch.equal(luma, expected) or bool(getattr(video, "note", "")))
PY
}

tests() {  # what concerns the GPU; side by side where pytest-xdist is there, since each shape is compiled
  local processes=() files=(tests/ops tests/engine tests/model tests/video/test_nvdec.py tests/test_tune.py)
  if python3 -c 'import xdist' 2> /dev/null; then processes=(-n 8); fi
  if python3 -c 'import nvidia.dali' 2> /dev/null; then files+=(tests/video/test_dali.py); else echo "DALI is not tested"; fi
  FAIL_WITHOUT_CUDA=1 OMP_NUM_THREADS=2 python3 -m pytest -q "${processes[@]}" --durations 10 \
    --junitxml "$results/tests.xml" --ignore tests/ops/test_triton_gates.py "${files[@]}"
}

decoder() {
  echo "${DECODER:-$(cat "$results/decoder.txt" 2> /dev/null || echo pyav)}"
}

fps() {
  python3 benchmarks/fps.py --device cuda --precision bf16 --clips 8 --frames 250 --rounds 10 --without compile \
    --decoder "$(decoder)" --json "$results/fps.json"
  python3 benchmarks/loop.py --json "$results/loop.json"
}

compiled() {  # torch.compile tunes itself for minutes: apart, so that the rest is there whatever becomes of it
  python3 benchmarks/fps.py --device cuda --precision bf16 --clips 1 --frames 60 --rounds 5 \
    --decoder "$(decoder)" --json "$results/compiled.json"
}

ops() {
  python3 benchmarks/ops.py --device cuda --seconds 1 --out "$results/ops"
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

sanitizer() {  # each tensor is an allocation of its own, or what is read beyond its end is another's
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda -k 'not captured' tests/ops 2>&1 | tee "$results/sanitizer.txt"
  compute-sanitizer --tool racecheck --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda tests/ops/test_motion_weights_cuda.py 2>&1 | tee "$results/racecheck.txt"
}

formats() {  # a run each, so that what is done is kept; one round to stay within the time: three for figures to publish
  for each in {640x360,1280x720,1920x1080}:libx26{4,5}; do
    python3 benchmarks/fps.py --device cuda --precision bf16 --clips 1 --frames 120 --rounds 1 --without compile \
      --decoder "$(decoder)" --formats "$each" --json "$results/formats-${each/:/-}.json"
  done
}

ped2() {  # the paper's 800 tokens and 100 + 40 epochs; said again, it goes on where it was stopped
  python3 benchmarks/ped2.py --data "${PED2:-../shared/data/ped2}" --out "$results/ped2" --at-once 3 \
    --train "--height 80 --width 160 --patch 4 --teacher-epochs 100 --student-epochs 40 --batch-size 100 --workers 5" \
    --json "$results/ped2.json"
}

parts=(build probe tests fps ops tune compiled scene sanitizer formats ped2)
if [ "$part" = all ]; then
  failed=()
  for each in "${parts[@]}"; do benchmarks/gpu_check.sh "$each" "$results" || failed+=("$each"); done
  [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
elif [[ " ${parts[*]} " = *" $part "* ]]; then
  [ "$part" = build ] || python3 - <<'PY'
import sys, torch
if not torch.cuda.is_available():
    sys.exit(f"no CUDA device: torch {torch.__version__}, for CUDA {torch.version.cuda}, sees none")
PY
  "$part" 2>&1 | tee "$results/$part.log"
else
  echo "unknown part: $part; expected ${parts[*]} or all" >&2
  exit 2
fi
