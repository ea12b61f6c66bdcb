#!/usr/bin/env node
/**
 * Damages small model files by seed and reads them whole: `.ci/fuzz.js [CASES] [FIRST_SEED]`, for each kind of model.
 * Every case must end in a typed error or in a model; anything else is printed with its seed. Pare must be built.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compress, PareError } from 'pare'
import { openModel } from '../dist/models/load_model.js'
import { inspect } from '../dist/run/inspect.js'
import { scope } from '../dist/tensor/index.js'

const [cases, first] = [Number(process.argv[2] ?? 300), Number(process.argv[3] ?? 0)]
const fixtures = fileURLToPath(new URL('../interop/fixtures', import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'pare-fuzz-'))

/** A small generator with a seed (mulberry32). */
function random(seed) {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

/** Cuts, flips bits, blows a field up, or repeats a piece; mostly near the start, where the headers are. */
function damage(original, below) {
  const bytes = original.slice(0, below(6) === 0 ? below(original.length) : original.length)
  if (bytes.length === 0) return bytes
  const place = () => below(below(2) === 0 ? Math.min(bytes.length, 2048) : bytes.length)
  for (let i = below(3); i >= 0; i--) bytes[place()] ^= 1 << below(8)
  if (below(4) === 0) bytes.fill(below(2) === 0 ? 0xff : 0x7f, place(), place() + 8)
  if (below(4) === 0) bytes.copyWithin(place(), place(), place())
  if (below(4) === 0) bytes[place()] = '0123456789-{}[],"'.charCodeAt(below(17))
  return bytes
}

/** Everything that reads: headers, every weight, the tokenizer and its templates. */
function readWhole(path, hasTokenizer) {
  inspect(path)
  const model = openModel(path)
  try {
    for (const name of model.weights.infos.keys()) scope(() => void model.weights.load(name).toArray())
    if (hasTokenizer) model.tokenizer().encode('Call me Ishmael. 12')
    model.chatTemplates()
  } finally {
    model.close()
  }
}

await compress({
  source: join(fixtures, 'llama-f16.gguf'),
  output: join(work, 'pare'),
  method: 'rtn',
  bits: 3,
  groupSize: 16,
  evaluate: false,
})
const kinds = {
  gguf: join(fixtures, 'llama-f16.gguf'),
  safetensors: join(fixtures, 'llama-tied'),
  gptq: join(fixtures, 'llama-gptq-3'),
  pare: join(work, 'pare'),
}
let [passed, failed] = [0, 0]
for (const [kind, original] of Object.entries(kinds)) {
  const copy = join(work, 'damaged', kind === 'gguf' ? 'm.gguf' : kind)
  const hasTokenizer = kind === 'gguf' || kind === 'pare'
  readWhole(original, hasTokenizer)
  let [opened, refused, wrong] = [0, 0, 0]
  for (let seed = first; seed < first + cases; seed++) {
    const below = random(seed)
    rmSync(copy, { recursive: true, force: true })
    cpSync(original, copy, { recursive: true })
    const files = kind === 'gguf' ? [copy] : readdirSync(copy).map((name) => join(copy, name))
    const readable = files.filter(
      (name) => /\.(gguf|json|safetensors)$/.test(name) && !/(report|expected)\.json$/.test(name),
    )
    const chosen = readable[below(readable.length)]
    writeFileSync(chosen, damage(new Uint8Array(readFileSync(chosen)), below))
    try {
      readWhole(copy, hasTokenizer)
      opened++
    } catch (error) {
      if (error instanceof PareError) refused++
      else {
        wrong++
        if (wrong <= 5)
          process.stdout.write(
            `FAILED  ${kind}, seed ${seed}, ${chosen.slice(copy.length)}: ${error?.stack ?? error}\n`,
          )
      }
    }
  }
  const good = wrong === 0 && refused > 0
  if (good) passed++
  else failed++
  process.stdout.write(
    `${good ? 'ok     ' : 'FAILED '} ${kind}: ${opened} opened, ${refused} refused, ${wrong} ended otherwise\n`,
  )
}
rmSync(work, { recursive: true, force: true })
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed > 0 ? 1 : 0
