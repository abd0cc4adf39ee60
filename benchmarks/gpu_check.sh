#!/usr/bin/env bash
# Everything that only a GPU can show, in parts of under 10 minutes each; results in one folder.
#
#     benchmarks/gpu_check.sh build|probe|tests|fps|ops|tune|compiled|scene|sanitizer|formats|ped2|all [RESULTS]
#
# Works without a network: torch must be installed; what else is missing is installed from $WHEELS (default: ./wheels,
# which gpu_wheels.sh fills) where that folder exists; an unpacked DALI is taken from $DALI (a folder for PYTHONPATH).
# Where the tree was copied without its history, $AEDMAE_COMMIT is the commit that the results carry. fps, compiled and
# formats decode with $DECODER (dali, nvdec or pyav), by default with what probe found to work. ped2 trains on UCSD Ped2
# in the layout "clips" in $PED2 (default: ../shared/data/ped2), three seeds at a time. A part is interrupted after $LIMIT
# seconds (default: 560) and keeps what it has by then; $PACK names a .tgz that all results are put into after each part,
# but for the states of training. Not run on a GPU so far.
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
results=$(mkdir -p "${2:-gpu_results}" && cd "${2:-gpu_results}" && pwd)
wheels=${WHEELS:-wheels}
[ -z "${DALI:-}" ] || export PYTHONPATH="$DALI${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1  # a part that is stopped has said what it did

# NVDEC's library may lie outside the linker's cache, where a container has the driver's files mounted.
if ! ldconfig -p | grep -q libnvcuvid; then
  nvdec=$(find /usr/local/nvidia /usr/lib /usr/lib64 -name 'libnvcuvid.so*' 2> /dev/null | head -n 1 || true)
  [ -z "$nvdec" ] || export LD_LIBRARY_PATH="${nvdec%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

build() {
  if [ -d "$wheels" ]; then python3 -m pip install --no-index --no-deps "$wheels"/*.whl; fi
  local install=(python3 -m pip install --no-index --no-deps --no-build-isolation -e .) missing failed=0
  if ! AEDMAE_CUDA=1 "${install[@]}"; then
    echo "the CUDA kernels do not build: all else goes on without them, through Triton" >&2
    failed=1
    AEDMAE_CUDA=0 "${install[@]}"
  fi
  python3 -m aedmae_fast.env | tee "$results/env.txt"
  missing=$(python3 -m pip check | grep '^aedmae-fast ' || true)
  if [ -n "$missing" ]; then
    printf '%s\n' "$missing" "these are missing: benchmarks/gpu_wheels.sh fetches them" >&2
    failed=1
  fi
  return $failed
}

probe() {
  nvidia-smi
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv > "$results/gpu.csv"
  ldconfig -p | grep -E 'libnvcuvid|libcuda\.so' || echo "no NVDEC library in the linker's cache"
  [ -z "${nvdec:-}" ] || echo "NVDEC library found: $nvdec"
  python3 -m aedmae_fast.env
  local each
  echo pyav > "$results/decoder.txt"
  for each in nvdec dali; do
    if decodes "$each"; then echo "$each" > "$results/decoder.txt"; else echo "decoder $each does not work"; fi
  done
  cat "$results/decoder.txt"
}

decodes() {  # an H.264 clip to its end, in hardware, as software does
  timeout 90 python3 - "$1" <<'PY'
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

tests() {  # what only a GPU runs first; side by side where pytest-xdist is there, since each shape is compiled
  local processes=() engine=(tests/engine tests/model tests/video/test_nvdec.py tests/test_tune.py) failed=0
  if python3 -c 'import xdist' 2> /dev/null; then processes=(-n 8); fi
  if python3 -c 'import nvidia.dali' 2> /dev/null; then engine+=(tests/video/test_dali.py); else echo "DALI is not tested"; fi
  tested gpu -m needs_cuda --ignore tests/ops/test_triton_gates.py tests/ops "${engine[@]}" || failed=1
  tested triton -m 'not needs_cuda' tests/ops/test_*_triton.py || failed=1
  tested engine -m 'not needs_cuda' "${engine[@]}" || failed=1
  tested ops -m 'not needs_cuda' --ignore tests/ops/test_triton_gates.py --ignore-glob '*_triton.py' tests/ops || failed=1
  return $failed
}

tested() {  # under a name, with what pytest shall run
  FAIL_WITHOUT_CUDA=1 OMP_NUM_THREADS=2 python3 -m pytest -q "${processes[@]}" --durations 10 \
    --junitxml "$results/tests-$1.xml" "${@:2}"
}

decoder() {
  [ -n "${DECODER:-}" ] || [ -f "$results/decoder.txt" ] || echo "probe has not run here: decoding by pyav" >&2
  echo "${DECODER:-$(cat "$results/decoder.txt" 2> /dev/null || echo pyav)}"
}

fps() {
  local failed=0
  python3 benchmarks/fps.py --device cuda --precision bf16 --clips 8 --frames 250 --rounds 10 --without compile \
    --decoder "$(decoder)" --json "$results/fps.json" || failed=1
  python3 benchmarks/loop.py --json "$results/loop.json" || failed=1
  return $failed
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
  local failed=0
  compute-sanitizer --tool racecheck --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda tests/ops/test_motion_weights_cuda.py 2>&1 | tee "$results/racecheck.txt" || failed=1
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda -k 'not captured' tests/ops 2>&1 | tee "$results/sanitizer.txt" || failed=1
  return $failed
}

formats() {  # a run each, so that what is done is kept; one round to stay within the time: three for figures to publish
  local each failed=0
  for each in {640x360,1280x720,1920x1080}:libx26{4,5}; do
    python3 benchmarks/fps.py --device cuda --precision bf16 --clips 1 --frames 120 --rounds 1 --without compile \
      --decoder "$(decoder)" --formats "$each" --json "$results/formats-${each/:/-}.json" || failed=1
  done
  return $failed
}

ped2() {  # the paper's 800 tokens and 100 + 40 epochs; said again, it goes on where it was stopped
  python3 benchmarks/ped2.py --data "${PED2:-../shared/data/ped2}" --out "$results/ped2" --seeds 0 1 2 --at-once 3 \
    --train "--height 80 --width 160 --patch 4 --teacher-epochs 100 --student-epochs 40 --batch-size 100 --workers 5" \
    --json "$results/ped2.json"
}

parts=(build probe tests fps ops tune compiled scene sanitizer formats ped2)
if [ "$part" = all ]; then
  failed=()
  for each in "${parts[@]}"; do benchmarks/gpu_check.sh "$each" "$results" || failed+=("$each"); done
  [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
elif [[ " ${parts[*]} " != *" $part "* ]]; then
  echo "unknown part: $part; expected ${parts[*]} or all" >&2
  exit 2
elif [ -z "${WITHIN_LIMIT:-}" ]; then
  [ "$part" = build ] || python3 - <<'PY'
import sys, torch
if not torch.cuda.is_available():
    sys.exit(f"no CUDA device: torch {torch.__version__}, for CUDA {torch.version.cuda}, sees none")
PY
  status=0
  WITHIN_LIMIT=1 timeout -s INT -k 20 "${LIMIT:-560}" benchmarks/gpu_check.sh "$part" "$results" 2>&1 |
    tee "$results/$part.log" || status=$?
  [ -z "${PACK:-}" ] || tar -czf "$PACK" --exclude state.pt --exclude cache -C "${results%/*}" "${results##*/}"
  [ $status != 124 ] || echo "$part: interrupted after ${LIMIT:-560} s" >&2
  exit $status
else
  trap 'exit 130' INT
  "$part"
fi
