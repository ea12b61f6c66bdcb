#!/usr/bin/env bash
# Packs Pare, installs both packages into an empty folder with scripts off, and uses them as a stranger would:
# doctor, inspect, plan, demo, the list of experiments, and a program whose types are checked and which reads a weight through the native core.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
node native/prepare.js
mapfile -t tarballs < <(node native/pack.js "$folder/packed")

mkdir "$folder/project" && cd "$folder/project"
printf '{ "name": "consumer", "private": true, "type": "module" }\n' > package.json
npm install --ignore-scripts --no-audit --no-fund --prefer-offline --silent "${tarballs[@]}"

npx --no pare doctor --json > doctor.json
node -e '
  const findings = JSON.parse(require("fs").readFileSync("doctor.json", "utf8"))
  const core = findings.find(({ subject }) => subject === "native core")
  if (!core.ok) throw new Error(core.found)'
npx --no pare inspect "$repository/interop/fixtures/llama-f16.gguf" | tail -1
npx --no pare plan "$repository/interop/fixtures/llama-f16.gguf" --target gguf --scheme Q8_0 > plan.txt
npx --no pare demo > demo.txt
grep -E '^GPTQ .* [0-9.]+$' demo.txt
npx --no pare reproduce --list
# Figures are drawn by a development dependency, which is missed before anything is measured.
if npx --no pare reproduce jaxpruner --quick 2> figures.txt; then exit 1; fi
grep -q 'npm install vega' figures.txt

cat > consumer.ts <<'TS'
import { type CompressionReport, compress, evaluate, inspect, OptionError, loadModel, plan, version } from 'pare'

const source = process.argv[2]!
const { bytes } = await plan({ source, target: 'gguf', scheme: 'Q8_0' })
const { tensors, supported } = inspect(source)
const model = await loadModel(source)
const weight: number[] = [...model.weights.load('model.norm.weight').shape]
model.close()
export const jobs: [(report: CompressionReport) => number | undefined, typeof compress, typeof evaluate] = [({ kl }) => kl, compress, evaluate]
try {
  await plan({ source: process.argv[1]! })
} catch (error) {
  if (!(error instanceof OptionError)) throw error
  console.log(version, bytes, tensors.length, supported, weight.length, error.code)
}
// @ts-expect-error: the library refuses what the command line refuses
await plan({ source, target: 'ggml' }).catch(() => {})
TS
cp -r "$repository/node_modules/@types" node_modules/
cp -r "$repository"/node_modules/undici-types node_modules/
node "$repository/node_modules/typescript/bin/tsc" --strict --exactOptionalPropertyTypes --module nodenext \
  --moduleResolution nodenext --target es2023 --types node --outDir . consumer.ts
node consumer.js "$repository/interop/fixtures/llama-f16.gguf"
for file in calibration evaluation; do test -s "node_modules/pare/src/calibrate/text/$file.txt"; done
if find node_modules/pare -name '*.test.*' -o -name '*.suite.*' | grep .; then exit 1; fi
echo 'the packed packages work'
