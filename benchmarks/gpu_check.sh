#!/usr/bin/env bash
# Everything that only a GPU can show, in parts of under 10 minutes each; results in one folder.
#
#     benchmarks/gpu_check.sh PART|all [RESULTS]
#
# PART: build, probe, tests, triton, fps, ops, tune, compiled, scene, racecheck, memcheck, formats or ped2.
#
# Works without a network: torch must be installed; what else is missing is installed from $WHEELS (default: ./wheels,
# which gpu_wheels.sh fills) where that folder exists; an unpacked DALI is taken from $DALI (a folder for PYTHONPATH).
# Where the tree was copied without its history, $AEDMAE_COMMIT is the commit that the results carry. fps, compiled and
# formats decode with $DECODER (dali, nvdec or pyav), by default with what probe found to work. ped2 trains on UCSD Ped2
# in the layout "clips" in $PED2 (default: where the tests look for it), three seeds at a time. A part builds the package
# first where that is missing or of other sources. After $LIMIT seconds (default: 560), the build's among them, it is
# interrupted and keeps what it has by then; 25 s later all has ended. $PACK names a .tgz that all results are put into
# after each part, but for the states of training; each checkpoint has another one beside it, or they might be too large
# together. Unpacked where ped2 is run again, what is trained is not trained anew. Not run on a GPU so far.
#
# Where nothing is kept from one command to the next but what is packed: bring the wheels along, and give every part a
# command of its own, with the decoder that probe has found:
#
#     AEDMAE_COMMIT=... PACK=$OUT/probe.tgz benchmarks/gpu_check.sh probe /tmp/results
#     AEDMAE_COMMIT=... PACK=$OUT/fps.tgz DECODER=nvdec benchmarks/gpu_check.sh fps /tmp/results
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
results=$(mkdir -p "${2:-gpu_results}" && cd "${2:-gpu_results}" && pwd)
wheels=${WHEELS:-wheels}
[ -z "${DALI:-}" ] || export PYTHONPATH="$DALI${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1  # a part that is stopped has said what it did

# NVDEC's library may lie outside the linker's cache, where a container has the driver's files mounted.
if ! ldconfig -p | grep libnvcuvid > /dev/null; then  # all of it: with -q, ldconfig may die of its closed pipe
  nvdec=$(find /usr/local/nvidia /usr/lib /usr/lib64 -name 'libnvcuvid.so*' 2> /dev/null | head -n 1 || true)
  [ -z "$nvdec" ] || export LD_LIBRARY_PATH="${nvdec%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

built() {  # from the sources that are here
  python3 -c 'from aedmae_fast.ops import native; native.cpu()'
}

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

tests() {  # what only a GPU runs first
  local engine=(tests/engine tests/model tests/video/test_nvdec.py tests/test_tune.py) failed=0
  if python3 -c 'import nvidia.dali' 2> /dev/null; then engine+=(tests/video/test_dali.py); else echo "DALI is not tested"; fi
  tested gpu -m needs_cuda --ignore tests/ops/test_triton_gates.py tests/ops "${engine[@]}" || failed=1
  tested engine -m 'not needs_cuda' "${engine[@]}" || failed=1
  return $failed
}

triton() {  # the Triton ops at every size at which they are interpreted elsewhere
  tested triton -m 'not needs_cuda' tests/ops/test_*_triton.py
}

tested() {  # under a name, with what pytest shall run; side by side where it can, since each shape is compiled
  local processes=()
  if python3 -c 'import xdist' 2> /dev/null; then processes=(-n 8); fi
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

# Stops in time and counts what was not tried: --ops for the rest. Attention is apart and last: there are compilers that
# make illegal accesses of such a kernel on Hopper (triton#10573), which take the device from all else in the process.
tune() {
  local left=$((WITHIN - SECONDS - 60)) failed=0
  if [ $left -lt 60 ]; then
    echo "tune: not begun, $left s are left: build first, or give it more (LIMIT)" >&2
    return 1
  fi
  tuned tune $((left * 3 / 4)) dwconv_qkv mlp linear discrepancy_map patch_embed || failed=1
  tuned tune-attention $((left / 4)) attention || failed=1
  return $failed
}

tuned() {  # under a name, for so many seconds, these operations
  python3 benchmarks/tune.py --minutes "$(($2 / 60)).$(($2 % 60 / 6))" --json "$results/$1.json" --ops "${@:3}"
}

scene() {
  python3 -m aedmae_fast.train --data examples/scene --layout clips --out "$results/scene" --config shanghaitech \
    --height 64 --width 96 --patch 8 --teacher-epochs 24 --student-epochs 3 --batch-size 16 --lr 1e-3 \
    --schedule cosine --warmup-epochs 1 --optimizer adamw --anomaly-share 0.75 --normal-share 0.75 --clip-norm 1
  python3 -m aedmae_fast.evaluate --data examples/scene --layout clips \
    --checkpoint "$results/scene/model.safetensors" --json "$results/scene.json"
}

racecheck() {
  compute-sanitizer --tool racecheck --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda tests/ops/test_motion_weights_cuda.py 2>&1 | tee "$results/racecheck.txt"
}

# Each tensor is an allocation of its own, or what is read beyond its end is another's. Of calls of CUDA some fail by
# intention, where PyTorch and Triton ask what there is. What PyTorch compiles or checks takes minutes under the tool.
memcheck() {
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --report-api-errors no --error-exitcode 1 \
    python3 -m pytest -q -m needs_cuda -k 'not captured and not opcheck and not torch_compile' \
    --ignore tests/ops/test_triton_gates.py tests/ops 2>&1 | tee "$results/memcheck.txt"
}

formats() {  # one round to stay within the time: three for figures to publish
  python3 benchmarks/fps.py --device cuda --precision bf16 --clips 1 --frames 120 --rounds 1 --formats-only \
    --decoder "$(decoder)" --json "$results/formats.json"
}

ped2() {  # the paper's 800 tokens and 100 + 40 epochs, else as bundled; said again, it goes on with the training
  python3 benchmarks/ped2.py --data "${PED2:-${AEDMAE_TEST_DATA:-../shared}/data/ped2}" --layout clips --out "$results/ped2" --seeds 0 1 2 --at-once 3 \
    --train "--height 80 --width 160 --patch 4 --teacher-epochs 100 --student-epochs 40 --batch-size 100 --workers 5" \
    --json "$results/ped2.json"
}

pack() {
  tar -czf "$PACK" --exclude state.pt --exclude cache --exclude model.safetensors -C "${results%/*}" "${results##*/}"
  local each name
  find "$results" -name model.safetensors -printf '%P\n' | while read -r each; do
    name=${each%/model.safetensors}
    tar -czf "${PACK%.tgz}-${name//\//-}.tgz" -C "${results%/*}" "${results##*/}/$each"
  done
}

parts=(build probe tests triton fps ops tune compiled scene racecheck memcheck formats ped2)
if [ "$part" = all ]; then
  failed=()
  for each in "${parts[@]}"; do benchmarks/gpu_check.sh "$each" "$results" || failed+=("$each"); done
  [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
elif [[ " ${parts[*]} " != *" $part "* ]]; then
  echo "unknown part: $part; expected ${parts[*]} or all" >&2
  exit 2
elif [ -z "${WITHIN:-}" ]; then
  [ "$part" = build ] || python3 - <<'PY'
import sys, torch
if not torch.cuda.is_available():
    sys.exit(f"no CUDA device: torch {torch.__version__}, for CUDA {torch.version.cuda}, sees none")
PY
  status=0
  seconds=$((${LIMIT:-560} - SECONDS))
  WITHIN=$seconds timeout -s INT -k 20 "$seconds" benchmarks/gpu_check.sh "$part" "$results" 2>&1 |
    tee "$results/$part.log" || status=$?
  [ -z "${PACK:-}" ] || pack
  case $status in 124 | 137) echo "$part: interrupted after ${LIMIT:-560} s" >&2 ;; esac
  exit $status
else
  trap 'exit 130' INT
  if [ "$part" != build ] && ! built 2> /dev/null; then
    build || true  # it says what does not build; without the CUDA kernels the rest can be had
    built
  fi
  "$part"
fi
