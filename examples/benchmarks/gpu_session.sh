#!/usr/bin/env bash
# What is to be measured on one GPU, in at most 8 minutes: one JSON at the end.
#
#     examples/benchmarks/gpu_session.sh [--dry_run] [--output gpu_session.json] [--python python3]
#
# The tests that need a GPU; CUDA-graph decoding beside the loop of Transformers; training of each stage at the paper's
# batches in bf16 and fp16 (tokens/s, MFU, peak of memory, beside a Llama of equal size); FSDP2 on one device. A part that
# fails or runs out of its time is noted, and the others go on. With --dry_run everything runs on the CPU in tiny sizes,
# and the tests are only listed.
set -u
cd "$(dirname "$0")/../.."
output=gpu_session.json python=python3 dry_run=
while [ $# -gt 0 ]; do
    case "$1" in
        --dry_run) dry_run=1 ;;
        --output) output=$2; shift ;;
        --python) python=$2; shift ;;
        *) echo "gpu_session: unknown option $1; allowed are --dry_run, --output FILE and --python PYTHON" >&2; exit 2 ;;
    esac
    shift
done
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
benchmarks=examples/benchmarks
if [ -n "$dry_run" ]; then
    size="--device cpu --hidden_size 64 --num_layers 1 --rounds 1" tests="--collect-only" factor=0
else
    size="--device cuda --rounds 3" tests="" factor=1
fi

part() {  # name, seconds, command...
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    timeout "$limit" "$@" >"$logs/$name.txt" 2>"$logs/$name.err"
    echo "$? $((SECONDS - start))" >"$logs/$name.status"
    echo "gpu_session: $name took $((SECONDS - start)) s, exit $(cut -d' ' -f1 "$logs/$name.status")"
}

batch() { if [ "$factor" = 0 ]; then echo 1; else echo "$1"; fi; }

part tests 90 "$python" -m pytest -q -m gpu $tests
part decode 90 "$python" $benchmarks/decode.py $size --contexts 875 --subjects stock fast "llama static" \
    --reference stock
for precision in bf16 fp16; do
    part "semantic_$precision" 45 "$python" $benchmarks/train_step.py $size --stage semantic \
        --mixed_precision "$precision" --batch_size "$(batch 180)"
    part "coarse_$precision" 45 "$python" $benchmarks/train_step.py $size --stage coarse \
        --mixed_precision "$precision" --batch_size "$(batch 36)"
done
part fine_bf16 45 "$python" $benchmarks/train_step.py $size --stage fine --mixed_precision bf16 --batch_size "$(batch 120)"
part coarse_fsdp2 45 "$python" $benchmarks/train_step.py $size --stage coarse --mixed_precision bf16 \
    --batch_size "$(batch 36)" --fsdp2

"$python" - "$logs" "$output" "${dry_run:-0}" <<'PYTHON'
import json
import sys
from pathlib import Path

logs, output, is_dry = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "1"
report = {"dry_run": is_dry, "parts": {}}
for status in sorted(logs.glob("*.status")):
    code, seconds = map(int, status.read_text().split())
    lines = status.with_suffix(".txt").read_text().splitlines()
    part = {"exit": code, "seconds": seconds}
    starts = [index for index, line in enumerate(lines) if line == "{"]
    if starts and code == 0:
        part["report"] = json.loads("\n".join(lines[starts[-1] :]))
    else:
        part["last_lines"] = lines[-3:] + status.with_suffix(".err").read_text().splitlines()[-3:]
    report["parts"][status.stem] = part
output.write_text(json.dumps(report, indent=1) + "\n")
print(f"gpu_session: wrote {output}")
sys.exit(any(part["exit"] for part in report["parts"].values()))
PYTHON
