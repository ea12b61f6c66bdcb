/**
 * What `pare verify` finds in GPTQ folders of models that did not set its bounds: sound results must pass, and damage must
 * fail beside what was computed, and beside the source where a bound can tell.
 *
 *   node .ci/verify_damage.js [--bits 4,8] [--methods rtn,gptq]
 *
 * The models are the one that comes with Pare and two of random numbers, one of them with heavy tails. Prints a line for
 * each kind of damage, the farthest sound results, and `N passed, N failed`. Pare must be built.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createSafetensors } from '../dist/formats/safetensors/writer.js'
import { configFromHuggingFace } from '../dist/models/llama/config.js'
import { weightShapes } from '../dist/models/llama/weight_shapes.js'
import { openModel } from '../dist/models/load_model.js'
import { compress } from '../dist/run/compress.js'
import { digestsOf } from '../dist/run/verify/verify.js'
import { failureOf, verifyResult } from '../dist/run/verify/verify_result.js'
import { randomStream, scope } from '../dist/tensor/index.js'
import { parseArgs } from './arguments.js'

const { values: flags } = parseArgs({
  options: { bits: { type: 'string', default: '4,8' }, methods: { type: 'string', default: 'rtn,gptq' } },
})
const work = mkdtempSync(join(tmpdir(), 'pare-damage-'))
const zoo = fileURLToPath(new URL('../experiments/models/pare-4m', import.meta.url))

/** Two blocks of half floats; `power` 3 gives heavy tails. */
function writeRandom(name, seed, hidden, power) {
  const folder = join(work, name)
  mkdirSync(folder)
  const config = { ...JSON.parse(readFileSync(join(zoo, 'config.json'), 'utf8')), num_hidden_layers: 2 }
  Object.assign(config, {
    hidden_size: hidden,
    head_dim: hidden / 8,
    num_key_value_heads: 4,
    intermediate_size: 2 * hidden,
  })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  cpSync(join(zoo, 'tokenizer.json'), join(folder, 'tokenizer.json'))
  const shapes = [...weightShapes(configFromHuggingFace(config))]
  const infos = shapes.map(([tensor, shape]) => ({ name: tensor, shape, type: 'F16' }))
  const writer = createSafetensors(join(folder, 'model.safetensors'), infos)
  for (const [tensor, shape] of shapes)
    scope(() => {
      const noise = randomStream(seed, tensor).normal(shape)
      const tails =
        power === 3
          ? noise
              .mul(noise)
              .mul(noise)
              .mul(15 ** -0.5)
          : noise
      const values = shape.length === 1 ? noise.mul(0.1).add(1) : tails.mul(shape.at(-1) ** -0.5)
      writer.append(tensor, values.cast('f16').bytes())
    })
  writer.finish()
  return folder
}

/** A part of a layer in the bytes of a file, as unsigned words. */
function partOf(file, name, Words) {
  const bytes = new Uint8Array(readFileSync(file))
  const header = Number(new DataView(bytes.buffer).getBigUint64(0, true))
  const { data_offsets: offsets, shape } = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + header)),
  )[name]
  const [start, end] = offsets.map((offset) => 8 + header + offset)
  const words = new Words(bytes.slice(start, end).buffer)
  const save = () => {
    bytes.set(new Uint8Array(words.buffer), start)
    writeFileSync(file, bytes)
  }
  return { words, shape, save }
}
const change = (file, name, Words, how) => {
  const { words, shape, save } = partOf(file, name, Words)
  how(words, shape)
  save()
}
/** Outputs change places in every group of a layer; `from` of a place. */
const permuteRows = (words, [, out], from) => {
  const before = words.slice()
  for (let i = 0; i < words.length; i++) words[i] = before[i - (i % out) + from(i % out, out)]
}
const block = 'model.layers.1.'
const layers = ['self_attn.q_proj', 'mlp.down_proj'].map((layer) => block + layer)
const everyZero = (words, bits, by) => {
  const least = 2 ** bits - 1
  for (let i = 0; i < words.length; i++) {
    let word = 0
    for (let at = 0; at < 32; at += bits) word |= ((((words[i] >>> at) & least) + by) & least) << at
    words[i] = word >>> 0
  }
}
const exchanged = (row) => (row === 0 ? 3 : row === 3 ? 0 : row)
/** The order in which llama.cpp has the rows of queries, heads of 32 and more. */
const interleaved = (size) => (row) => {
  const [head, at] = [row - (row % size), row % size]
  return head + (at % 2) * (size / 2) + Math.floor(at / 2)
}
/** Each changes one layer, or all of `all`. `bounded`: a bound must tell from this many bits on. */
const damages = {
  // At 4 bits a row of heavy tails may be like another one in its place.
  'codes of two rows exchanged': [
    8,
    (file, layer) => change(file, `${layer}.qweight`, Uint32Array, (w, s) => permuteRows(w, s, exchanged)),
  ],
  'codes of all rows one down': [
    4,
    (file, layer) =>
      change(file, `${layer}.qweight`, Uint32Array, (w, s) =>
        permuteRows(w, s, (row, out) => (row + 1) % out),
      ),
  ],
  'codes of q_proj as llama.cpp': [
    4,
    (file, layer, { size }) =>
      layer.endsWith('q_proj') &&
      change(file, `${layer}.qweight`, Uint32Array, (w, s) => permuteRows(w, s, interleaved(size))),
  ],
  'one row of zeros': [
    4,
    (file, layer) =>
      change(file, `${layer}.scales`, Uint16Array, (w, [, out]) => {
        for (let i = 5; i < w.length; i += out) w[i] = 0
      }),
  ],
  'scales of all rows one down': [
    9,
    (file, layer) =>
      change(file, `${layer}.scales`, Uint16Array, (w, s) =>
        permuteRows(w, s, (row, out) => (row + 1) % out),
      ),
  ],
  'all zeros off by one, up': [
    4,
    // Symmetric ones are those of version 2 then, which readers know.
    (file, layer, { bits, symmetric }) =>
      !symmetric && change(file, `${layer}.qzeros`, Uint32Array, (w) => everyZero(w, bits, 1)),
  ],
  'all zeros off by one, down': [
    4,
    (file, layer, { bits }) => change(file, `${layer}.qzeros`, Uint32Array, (w) => everyZero(w, bits, -1)),
  ],
  'one zero off by one': [
    9,
    (file, layer) =>
      change(file, `${layer}.qzeros`, Uint32Array, (w) => {
        w[0] ^= 1
      }),
  ],
  'one code off by one': [
    9,
    (file, layer) =>
      change(file, `${layer}.qweight`, Uint32Array, (w) => {
        w[7] ^= 1
      }),
  ],
}

let [passed, failed] = [0, 0]
const say = (holds, text) => {
  holds ? passed++ : failed++
  if (!holds) process.stdout.write(`FAILED  ${text}\n`)
}
const counts = new Map()
const add = (kind, setting, found) => {
  const key = `${kind} | ${setting}`
  const before = counts.get(key) ?? [0, 0, 0]
  counts.set(
    key,
    before.map((count, i) => count + [1, found.bounds, found.values][i]),
  )
}
const sound = []

const models = [
  ['pare-4m', zoo],
  ['random', writeRandom('random', 41, 256, 1)],
  ['heavy tails', writeRandom('tails', 43, 256, 3)],
]
for (const [name, source] of models)
  for (const bits of flags.bits.split(',').map(Number))
    for (const group of ['row', 32])
      for (const symmetric of [true, false])
        for (const method of flags.methods.split(',')) {
          const output = join(work, 'out')
          const options = { source, output, target: 'gptq', bits, groupSize: group, symmetric, method }
          const report = await compress({
            ...options,
            samples: 16,
            length: 128,
            evaluate: false,
            probe: false,
            verify: false,
          })
          const digests = digestsOf(report.layers)
          const open = openModel(source)
          const setting = `${bits} bits, ${group === 'row' ? 'a row' : `groups of ${group}`}`
          const title = `${name}, ${setting}, ${symmetric ? 'symmetric' : 'with zeros'}, ${method}`
          const whole = await verifyResult({ path: output, source: open })
          say(whole.passed, `${title}: sound, and ${failureOf(whole)}`)
          const known = await verifyResult({ path: output, digests })
          say(known.passed, `${title}: sound, and ${failureOf(known)}`)
          const factsOf = (check) => whole.checks.find((one) => one.name === check).facts
          sound.push({
            title,
            setting,
            error: factsOf('weights').farthest * 2 ** bits,
            spread: factsOf('logits').relative * 2 ** bits,
          })
          for (const [kind, [least, damage]] of Object.entries(damages))
            for (const layer of layers) {
              const copy = join(work, 'copy')
              cpSync(output, copy, { recursive: true })
              const size = open.model.config.headSize
              if (damage(join(copy, 'model.safetensors'), layer, { bits, size, symmetric }) !== false) {
                const bounds = await verifyResult({ path: copy, source: open })
                const values = await verifyResult({ path: copy, digests })
                say(!values.passed, `${title}: ${kind} in ${layer} is not found beside what was computed`)
                if (bits >= least)
                  say(!bounds.passed, `${title}: ${kind} in ${layer} is not found beside the source`)
                add(kind, setting, { bounds: !bounds.passed, values: !values.passed })
              }
              rmSync(copy, { recursive: true })
            }
          open.close()
          rmSync(output, { recursive: true })
        }
rmSync(work, { recursive: true })
process.stdout.write('damage | levels | cases | found beside the source | found beside what was computed\n')
for (const [key, [cases, bounds, values]] of counts)
  process.stdout.write(`${key} | ${cases} | ${bounds} | ${values}\n`)
process.stdout.write('sound results | farthest weight, 2^-bits | spread of logits, 2^-bits\n')
for (const setting of new Set(sound.map((one) => one.setting))) {
  const most = (of) => Math.max(...sound.filter((one) => one.setting === setting).map(of)).toPrecision(3)
  process.stdout.write(`${setting} | ${most(({ error }) => error)} | ${most(({ spread }) => spread)}\n`)
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
