#!/usr/bin/env bash
# Ten minutes on a GPU: its tests, the benchmark table, and training that goes on from the last checkpoint.
#
#   DATA=PATH scripts/gpu.sh             # PATH holds bsds500 and kernels
#   scripts/gpu.sh --rehearse            # the same steps on the CPU, tiny, with the pictures of data/images
#
# OUT (runs/gpu) gets logs, tables and the checkpoint. FROM names the folder of a run to go on with; without it training
# starts from the shipped euler-guided. MINUTES (5) of training, BATCH (256), PATCH (96), ARGUMENTS of the network,
# OBJECTIVE (denoising or deblurring), PYTHON. A step that fails or runs too long does not stop the next ones; the exit
# code is the number of those that failed.
set -uo pipefail
cd "$(dirname "$0")/.."
rehearse=
[ "${1:-}" = --rehearse ] && rehearse=yes
[ $# -gt 1 ] || { [ $# -eq 1 ] && [ -z "$rehearse" ]; } && { echo "usage: scripts/gpu.sh [--rehearse]" >&2; exit 2; }
python=${PYTHON:-python} out=${OUT:-runs/gpu}
mkdir -p "$out"
out=$(cd "$out" && pwd)
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

if [ -n "$rehearse" ]; then
  device=cpu minutes=0.1 batch=2 patch=32 short=600
  data=$out/data
  "$python" - "$data" <<'PY' || exit 1
import sys
from pathlib import Path
import imageio.v3 as imageio
import numpy as np
from pnpkit import kernels
data = Path(sys.argv[1])
(data / "kernels").mkdir(parents=True, exist_ok=True)
np.save(data / "kernels" / "levin09_1.npy", kernels.motion(5, 30))
for split, name in (("train", "coffee"), ("test", "astronaut"), ("val", "cat")):
    (data / "bsds500" / split).mkdir(parents=True, exist_ok=True)
    imageio.imwrite(data / "bsds500" / split / "1.jpg", imageio.imread(f"data/images/{name}.png")[100:164, 100:164])
PY
  tests=(tests/test_machine_gpu.py -k "identity or wavelet or tiles or kernel or False")
  benchmark=(--size 24 --limit 2 --repeat 1 --threads 1 --only "fast, Anderson")
  stop=(--steps 1)
else
  device=cuda minutes=${MINUTES:-5} batch=${BATCH:-256} patch=${PATCH:-96} short=150
  data=${DATA:?name the folder that holds bsds500 and kernels}
  tests=(tests/test_machine_gpu.py)
  benchmark=(--limit 150 --repeat 5 --threads "$(nproc)" --only "Anderson" --only "deepinv PGD, PnP")
  stop=(--hours "$("$python" -c "print($minutes / 60)")")
fi

failed=0
step() { # NAME SECONDS COMMAND...
  local name=$1 most=$2 began=$SECONDS code=0
  shift 2
  timeout "$most" "$@" > "$out/$name.log" 2>&1 || code=$?
  [ $code -eq 0 ] || failed=$((failed + 1))
  printf '%-10s exit %3d, %4d s, %s\n' "$name" $code $((SECONDS - began)) "$out/$name.log" | tee -a "$out/summary.txt"
}

: > "$out/summary.txt"
{ date -u; git rev-parse HEAD; if [ $device = cuda ]; then nvidia-smi -L; else nproc; fi; "$python" -c "import torch; print(torch.__version__)"; } \
  >> "$out/summary.txt" 2>&1
export PNPKIT_TEST_DEVICE=$device
step tests $short "$python" -m pytest -q -x -p no:cacheprovider "${tests[@]}"
step benchmark $short "$python" scripts/benchmark.py --data "$data/bsds500" --kernels "$data/kernels" \
  --device $device "${benchmark[@]}" --out "$out"

# The run that goes on: its checkpoint holds the shape of its network and the schedule that it followed.
run=$out/training
from=${FROM:-}
mkdir -p "$run"
if [ ! -f "$run/checkpoint.safetensors" ] && [ -n "$from" ]; then
  cp "$from"/checkpoint.safetensors "$run/" && cp "$from"/training.csv "$run/" 2> "$out/copy.log"
fi
if [ -f "$run/checkpoint.safetensors" ]; then
  eval "$("$python" - "$run/checkpoint.safetensors" <<'PY'
import json, shlex, sys
from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as file:
    run = json.loads(file.metadata()["run"])
print("shape=" + shlex.quote(json.dumps(run["arguments"])), f"done_steps={run['step']} done_seconds={run['seconds']}")
PY
)"
  begin=(--resume --arguments "$shape")
  stop=(--hours "$("$python" -c "print(($done_seconds + 60 * $minutes) / 3600)")")
  [ -z "$rehearse" ] || stop=(--steps $((done_steps + 1)))
else
  begin=(--start euler-guided --arguments "${ARGUMENTS:-{\"coarse\": 96\}}")
fi
limit=$("$python" -c "print(int(60 * $minutes) + $short)")
step training "$limit" "$python" scripts/train_denoiser.py guided "${begin[@]}" --data "$data/bsds500" --folder "$run" \
  --device $device --precision bfloat16 --batch "$batch" --patch "$patch" --objective "${OBJECTIVE:-denoising}" \
  --kernel-rate 8 --ema 0.99 --warmup 30 --checkpoint-minutes 1 "${stop[@]}"
du -sh "$out" | tee -a "$out/summary.txt"
exit $failed
