/**
 * Opening files and decoding their weights, as tables to paste into docs/performance.md. Run it on an idle machine:
 *
 *   node bench/formats.js [--tokenizer MODEL.gguf] [--python VENV/bin/python] [--runs 9] [--rounds 8] [--threads 1,2]
 *   node bench/formats.js --only opening | decoding [--match Q4_K]
 *   node bench/formats.js --small
 *
 * `--tokenizer` is a GGUF file whose tokenizer one of the files takes; `--python` has gguf, safetensors and onnx, which
 * are timed beside Pare (bench/peers/requirements-formats.txt). Opening needs 600 MB in the temporary folder, decoding
 * 1 GB of memory. `--small` runs all of it on small files and matrices, which says nothing about time.
 */
import { cpus, totalmem } from 'node:os'
import { parseArgs } from '../.ci/arguments.js'
import { instructionSet } from '../dist/tensor/index.js'
import { decodingTable, lastLevelCache, memoryTable } from './decoding_rates.js'
import { openingTable } from './opening_times.js'

const { values: flags } = parseArgs({
  options: {
    tokenizer: { type: 'string' },
    python: { type: 'string' },
    runs: { type: 'string', default: '9' },
    rounds: { type: 'string', default: '8' },
    threads: { type: 'string', default: '1,2' },
    only: { type: 'string' },
    match: { type: 'string', default: '' },
    small: { type: 'boolean', default: false },
  },
})
const { tokenizer, python, small, match } = flags
const cache = lastLevelCache()
const opening = small
  ? { bytes: 1e6, size: { hidden: 256, intermediate: 512, tokens: 1000 }, runs: 1 }
  : {
      bytes: 5e8,
      size: { hidden: 1536, intermediate: 4096, tokens: 128_256 },
      runs: Number(flags.runs),
    }
const decoding = {
  // A ring of four matrices has four times the cache.
  rows: small ? 8 : Math.max(2048, Math.ceil(cache / (4 * 4096))),
  rounds: small ? 1 : Number(flags.rounds),
  threads: flags.threads.split(',').map(Number),
}

const print = (lines) => {
  for (const line of lines) process.stdout.write(`${line}\n`)
  process.stdout.write('\n')
}
const megabytes = (bytes) => Math.round(bytes / 2 ** 20)
print([
  `${cpus()[0].model}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${instructionSet()}, Node ${process.versions.node}, ${process.platform}-${process.arch}; last-level cache ${megabytes(cache)} MiB`,
])
if (flags.only !== 'decoding') print(openingTable({ ...opening, match, tokenizer, python }))
if (flags.only !== 'opening') {
  print(memoryTable(decoding))
  print(decodingTable({ ...decoding, match, python }))
}
