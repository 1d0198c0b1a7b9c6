#!/usr/bin/env bash
# Prints every figure that a GPU changes, and runs the tests that need one, in at most 8 minutes.
#
#   study/bench/gpu_check.sh            all of it
#   study/bench/gpu_check.sh --quick    one measurement of each side and no training: a minute, for a first look
#
# Runs from any folder and needs no network: packages come from PYTHON (default python), and, where they lie in a folder
# that was copied there, from SITE_PACKAGES. Without a GPU it runs to the end, and names what needs one.
# The exit code is 1 if a part failed; the others run nevertheless.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root" || exit 1
python=${PYTHON:-python}
export PYTHONPATH=$root${SITE_PACKAGES:+:$SITE_PACKAGES}${PYTHONPATH:+:$PYTHONPATH}
quick=0
[ "${1:-}" = --quick ] && quick=1
limit_s=480
began=$SECONDS
failed=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

part() { # part NAME LIMIT_S COMMAND...: runs a part for LIMIT_S or what is left of the time, whichever is less
    local name=$1 most_s=$2 left_s=$((limit_s - SECONDS + began)) code
    shift 2
    echo
    echo "== $name"
    if [ "$left_s" -le 5 ]; then
        echo "left out: the $limit_s s are over"
        failed=1
        return
    fi
    timeout $((most_s < left_s ? most_s : left_s)) "$@"
    code=$?
    if [ $code -ne 0 ]; then
        echo "failed: exit code $code$([ $code -eq 124 ] && echo ', out of time')"
        failed=1
    fi
}

needs_gpu() { # needs_gpu NAME: names a figure that this machine cannot give
    echo
    echo "== $1"
    echo "needs a GPU"
}

has_gpu=$("$python" -c 'import torch; print(int(torch.cuda.is_available()))') || exit 1
"$python" - <<'END'
import os, platform, torch
card = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
print(f"GPU: {card}; {os.cpu_count()} cores; torch {torch.__version__}; Python {platform.python_version()}")
END

repeats=3
[ $quick -eq 1 ] && repeats=1

in_lab() { # in_lab DEVICE RUNS_PER_GPU COMMAND...: runs a command in a folder with a copy of the studies and its settings
    local lab=$folder/$1-$2
    mkdir -p "$lab"
    printf 'mlflow = "off"\ndevice = "%s"\nruns_per_gpu = %s\n' "$1" "$2" > "$lab/study.toml"
    cp -r ablations "$lab/"
    shift 2
    (cd "$lab" && "$@")
}

main_job() { # main_job: the main job on the GPU, with the time that it takes
    local output=$folder/output.txt
    time in_lab cuda '"auto"' "$python" -m study run ablations/issm.toml > "$output" 2>&1 || {
        tail -n 5 "$output"
        return 1
    }
}
export -f in_lab main_job
export folder python

if [ "$has_gpu" = 1 ]; then
    # the functions below each mark that skips them without a GPU
    names=$(grep -rhA5 "cuda.is_available" tests --include='test_*.py' | grep -oE "def test_\w+" | sed 's/def //;s/$/ or/' | tr '\n' ' ')
    part "tests that need a GPU" 100 "$python" -m pytest -n 6 -q -rs -p no:cacheprovider \
        -k "${names% or } or test_depthwise_gpu" \
        tests/components/test_depthwise_gpu.py $(grep -rlE "cuda.is_available" tests --include='test_*.py')
    for graph in false true; do
        part "parts of a step of the main job, train.graph = $graph" 40 bash -c \
            "in_lab cuda 1 $python -m study profile ablations/issm.toml --train --set train.graph=$graph"
    done
    if [ $quick -eq 0 ]; then
        part "main job, runs_per_gpu = auto; two CPU cores take 8 to 9 minutes" 150 bash -c main_job
    fi
    part "full-size step: baseline, fast attention, bf16, graph, compiled, deterministic; memory; difference of logits" 400 \
        "$python" -m study.bench.step --device cuda --repeats $repeats
else
    needs_gpu "full-size step: baseline, fast attention, bf16, graph, compiled, deterministic; memory; difference of logits"
    needs_gpu "parts of a step of the main job, eager and as a graph: data, copies, forward, backward, optimizer, waiting"
    needs_gpu "main job on the GPU"
    needs_gpu "tests that need a GPU: $(grep -rlE 'cuda.is_available' tests --include='test_*.py' | tr '\n' ' ')"
fi

if [ $quick -eq 0 ] && [ "$has_gpu" = 0 ]; then
    part "harness: conductor, start of a run, clips" 60 "$python" -m study bench scale --repeats 3
    part "data loader" 60 "$python" -m study bench loader --repeats 1
fi

echo
echo "$((SECONDS - began)) s; $([ $failed -eq 0 ] && echo 'every part ended well' || echo 'a part failed')"
exit $failed
