#!/usr/bin/env bash
# check.sh [ASSETS]   other programs' opinions of what Pare reads and writes. One line a check; the last is the counts.
# ASSETS is the folder that assets.sh fills (default: PARE_ASSETS). Pare must be built. Needs python3 with venv, npm, and Chromium, which it installs as root.
# KEEP=DIR keeps the results of every program there; VENV=DIR takes a Python environment that is there already.
set -euo pipefail
cd "$(dirname "$0")"
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-2}
assets=${1:-${PARE_ASSETS:?usage: check.sh ASSETS}}
bash assets.sh "$assets" smollm2 minilm efficientnet-lite0 images-skimage text-moby-dick text-sotu >&2
bash assets.sh "$assets" minilm-fp32-onnx >&2 || [ $? = 3 ]
assets=$(cd "$assets" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-interop.XXXXXX")
trap 'rm -rf "$work"' EXIT
results=${KEEP:-$work/results}; mkdir -p "$results"; results=$(cd "$results" && pwd)
passed=0; failed=0
say() { printf '\n-- %s (%d s)\n' "$1" "$SECONDS" >&2; }
check() { # TITLE COMMAND...   one check that a program decides by its exit status
  local title=$1; shift
  if "$@" >"$work/log" 2>&1; then passed=$((passed + 1)); printf 'ok      %s\n' "$title"
  else failed=$((failed + 1)); printf 'FAILED  %s\n' "$title"; cat "$work/log"; fi
}

say 'Python environment'
venv=${VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import numpy, onnxruntime, regex' 2>/dev/null || "$venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt >&2
python="$venv/bin/python"
say 'node-llama-cpp'
[ -d llama.cpp/node_modules/node-llama-cpp ] || (cd llama.cpp && npm ci --ignore-scripts --no-audit --no-fund >&2)

check 'oracle: readers give the known values' "$python" oracle/golden.py
check 'oracle: tiny checkpoints are as committed' "$python" tiny_checkpoints.py --check fixtures
say 'the libraries of safetensors, gguf and mlx, and lm_eval'
libraries=${LIBRARIES:-$work/libraries}
[ -x "$libraries/bin/python" ] || python3 -m venv "$libraries"
"$libraries/bin/python" -I -c 'import gguf, lm_eval, mlx_lm, transformers' 2>/dev/null || "$libraries/bin/pip" install -q --disable-pip-version-check -r requirements-libraries.txt >&2
check 'safetensors and gguf read the same tensors' "$libraries/bin/python" open_check.py fixtures/*.gguf fixtures/*/
check 'mlx and mlx-lm give the same weights and logits' "$libraries/bin/python" mlx_check.py fixtures/mlx-* fixtures/awq

source=$assets/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
speech=$assets/data/text-sotu/data/1981_jimmy_carter_d.txt
book=$assets/data/text-moby-dick/data/data.txt
pare() { node ../bin/pare.js "$@"; }
python3 - "$book" 200000 "$work/moby.txt" "$speech" 20000 "$work/speech.txt" <<'P'
import sys
for file, cut, out in (sys.argv[1:4], sys.argv[4:7]):
    open(out, "w", encoding="utf-8", newline="").write(open(file, encoding="utf-8", newline="").read()[int(cut):])
P

say 'the source'
for text in moby speech; do
  pare eval "$source" --text "$work/$text.txt" --context 257 --windows 1 --json >"$results/pare-$text.json"
  "$python" oracle/evaluate.py "$source" head --texts "$work/$text.txt" --tokens 257 >"$results/oracle-$text.json"
done
head -c 60000 "$work/moby.txt" | iconv -c -f utf-8 -t utf-8 >"$work/part.txt"
node token_ids.js "$source" "$work/part.txt" "$work/speech.txt" >"$results/ids-pare.json"
for text in part speech; do "$python" oracle/bpe.py "$source" "$work/$text.txt" --file >"$results/ids-oracle-$text.json"; done

counted() { # TITLE COMMAND...   checks of a program that prints a line for each, and the counts last
  local title=$1 status more less; shift
  if "$@" >"$work/log"; then status=0; else status=$?; fi
  grep -v ' passed, ' "$work/log" || true
  read -r more _ less _ < <(tail -n 1 "$work/log") || true
  [ "$status" -le 1 ] && [ -n "${more:-}" ] || { more=0; less=1; printf 'FAILED  %s: no counts\n' "$title"; }
  passed=$((passed + more)); failed=$((failed + ${less%%,*}))
}

say 'compression'
small=(--samples 4 --length 128 --calib "$book" --no-evaluate)
pare compress "$source" --method gptq --target gguf --scheme Q3_K --output "$work/gguf" "${small[@]}" >&2
pare compress "$source" --method gptq --target gptq --bits 4 --output "$work/gptq" "${small[@]}" >&2
pare compress "$source" --method rtn --target gguf --scheme Q4_K_M --output "$work/mix" --no-evaluate >&2
pare compress "$source" --method rtn --target vllm --output "$work/vllm" --no-evaluate >&2
pare compress "$source" --method rtn --target mlx --output "$work/mlx" --no-evaluate >&2
mix=$(echo "$work"/mix/*.gguf)
gguf=$(echo "$work"/gguf/*.gguf)

say 'the results'
windows=(--texts "$speech" --context 512 --windows 4)
"$python" oracle/evaluate.py "$source" nonoverlap "${windows[@]}" --dump "$results/windows.json" >&2
for model in "gguf $gguf" "mix $mix" "gptq $work/gptq" "vllm $work/vllm" "mlx $work/mlx"; do
  name=${model%% *}; path=${model#* }
  pare eval "$path" --text "$speech" --context 512 --windows 4 --json >"$results/pare-$name.json"
  "$python" oracle/evaluate.py "$path" nonoverlap "${windows[@]}" --tokenizer "$source" >"$results/oracle-$name.json"
done
check 'mlx-lm opens the folder for it, tokenizer and template' "$libraries/bin/python" mlx_check.py --loads "$work/mlx"
node llama.cpp/perplexity.js "$gguf" "$results/windows.json" --tokenize "$work/part.txt" --tokenize "$work/speech.txt" >"$results/llama-gguf.json"
node llama.cpp/perplexity.js "$mix" "$results/windows.json" >"$results/llama-mix.json"

say 'comparison'
counted comparison "$python" perplexities.py "$results"

say 'lm_eval'
check 'documents of lm_eval are as committed' node lm_eval/write_documents.js "$assets" --check
counted 'lm_eval over pare serve' node lm_eval/check.js "$libraries/bin/python" "$work/lm_eval" "$work/vllm"

say 'MiniLM'
minilm=$assets/models/minilm onnx=$assets/models/minilm-fp32-onnx/all-minilm-l6-v2.onnx
if [ -f "$onnx" ]; then
  "$python" minilm_onnx/compare.py --texts "$book" "$speech" "$work/texts.json"
  node minilm_onnx/embed_texts.js "$minilm" "$work/texts.json" >"$results/minilm-pare.json"
  counted MiniLM "$python" minilm_onnx/compare.py "$minilm" "$onnx" "$work/texts.json" "$results/minilm-pare.json"
  say 'MatMulNBits'
  "$python" -I -c 'import onnx' 2>/dev/null || "$venv/bin/pip" install -q --disable-pip-version-check -r onnx/requirements.txt >&2
  check 'fixtures of ONNX are as committed' "$python" onnx/write_fixtures.py onnx/fixtures --check
  counted MatMulNBits "$python" onnx/check_models.py "$minilm" "$onnx" "$work/texts.json"
else printf 'skipped MiniLM: its ONNX file comes through mvn, which is not here\n'; fi

say 'ONNX exports'
# Its CPU library comes within the package; the script would fetch those of GPUs.
[ -d onnxruntime/node_modules/onnxruntime-node ] || (cd onnxruntime && ONNXRUNTIME_NODE_INSTALL=skip npm ci --ignore-scripts --no-audit --no-fund >&2)
counted 'ONNX exports in onnxruntime' node onnxruntime/exports_check.js "$assets" "$work/exports"
counted 'ONNX exports in transformers.js' node onnxruntime/transformers_js_check.js "$assets" "$work/exports"
counted 'MiniLM in onnxruntime, 8 and 4 bits' node onnxruntime/encoder_check.js "$assets" "$work/exports"
rm -rf "$work/exports"

say 'the report in a browser'
[ -d report_page/node_modules/playwright-core ] || (cd report_page && npm ci --ignore-scripts --no-audit --no-fund >&2)
pare compress "$source" --method rtn --context 256 --windows 2 --output "$work/page" >&2
counted 'the report in a browser' node report_page/browser_check.js "$work/page"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
