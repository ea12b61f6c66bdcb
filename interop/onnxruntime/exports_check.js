#!/usr/bin/env node
// onnxruntime on ONNX exports, against Pare on the same weights: exports_check.js ASSETS WORK
//
// Numbers of quantised and of half exports are those that Pare reads back from the file, so that only the arithmetic differs.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freshClassifier } from '../../dist/models/classifiers/load_classifier.js'
import { readMiddle } from '../../dist/models/efficientnet/classify_image.js'
import { openEfficientNetLite0 } from '../../dist/models/efficientnet/efficientnet.js'
import { openModel } from '../../dist/models/load_model.js'
import { classifierImages, efficientNetImages } from '../../dist/models/onnx/image_sources.js'
import { onnxSource } from '../../dist/models/onnx/onnx_source.js'
import { padded } from '../../dist/models/padded_batches.js'
import { matricesOf } from '../../dist/models/write/target.js'
import { planLayout } from '../../dist/run/target_plan.js'
import { chosenTarget } from '../../dist/run/targets.js'
import { concat, randomStream, scope } from '../../dist/tensor/index.js'
import { Decoder, encoderStates, imageLogits } from './decoder_session.js'
import { check, farthest, finish, kinds, writeExport, writePlan } from './write_export.js'

const [assets, work] = process.argv.slice(2)
const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url))

/** Of the largest logit. Sums of f32 in another order; of f16 each activation is rounded to 11 bits, layer after layer. */
const near = { F32: 1e-4, F16: 4e-3 }
const compare = (title, found, expected, limit) => {
  const distance = farthest(found, expected)
  check(title, distance <= limit, `${distance.toExponential(1)} of the largest, ${limit} allowed`)
}
const withModel = (path, body) => {
  const open = openModel(path)
  try {
    return scope(() => body(open))
  } finally {
    open.close()
  }
}
const exported = (path, folder, options) =>
  withModel(path, (open) => writeExport({ source: onnxSource(open), weights: open.weights }, folder, options))

async function decoder(title, path, sequences, kind, { keep, limit, checks = 3 } = {}) {
  const folder = keep ?? join(work, 'decoder')
  const options = { ...kinds[kind], ...(keep ? { layout: 'transformers.js' } : {}) }
  exported(path, folder, options)
  const expected = withModel(folder, ({ model }) => {
    const resident = model.load()
    return sequences.map((ids) => resident.forward(Uint32Array.from(ids)).toArray())
  })
  const most = limit ?? near[options.type ?? 'F32']
  const runtime = await Decoder.open(join(folder, keep ? 'onnx/model_q4.onnx' : 'model.onnx'))
  const [ids] = sequences
  compare(`${title} ${kind}: one pass`, await runtime.logits(ids), expected[0], most)
  if (checks > 1)
    compare(`${title} ${kind}: with a cache`, await runtime.logits(ids, ids.length - 3), expected[0], most)
  if (checks > 2)
    for (const side of ['before', 'behind']) {
      const rows = await runtime.padded(sequences, side)
      const distance = Math.max(...rows.map((row, i) => farthest(row, expected[i])))
      check(`${title} ${kind}: filled ${side}`, distance <= most, distance.toExponential(1))
    }
  await runtime.session.release()
  if (!keep) rmSync(folder, { recursive: true })
}

async function encoder(title, path, sequences, kind) {
  const folder = join(work, 'encoder')
  exported(path, folder, kinds[kind])
  const expected = withModel(folder, ({ model }) => {
    const resident = model.load()
    return sequences.flatMap((ids) => [
      ...resident.forward(padded([Uint32Array.from(ids)], model.config.padId)).toArray(),
    ])
  })
  const states = await encoderStates(join(folder, 'model.onnx'), sequences)
  compare(`${title} ${kind}`, states, expected, kinds[kind].type === 'F16' ? 1e-3 : 1e-4)
  rmSync(folder, { recursive: true })
}

async function images(title, model, input, expected, kind, limit) {
  const folder = join(work, 'images')
  writeExport(model, folder, kinds[kind])
  const found = await imageLogits(join(folder, 'model.onnx'), input.toArray(), input.shape)
  compare(`${title} ${kind}`, found, expected, limit)
  rmSync(folder, { recursive: true })
}

// Every kind of head, rotary scaling, bias and window, on models of a few weights; the window is 8.
const long = [1, 5, 9, 3, 7, 2, 11, 4, 6, 8, 10, 13, 12, 15, 14]
for (const name of [
  'llama-tied',
  'llama-untied',
  'llama-head-size',
  'llama-rope-linear',
  'llama-rope-llama3',
  'mistral',
  'qwen2',
  'smollm',
])
  await decoder(name.replace(/\.gguf$/, ''), fixtures + name, [long, [3, 1, 4, 1, 5]], 'f32')
await decoder('llama-untied', `${fixtures}llama-untied`, [long, [3, 1, 4]], 'f16')
await decoder('llama-untied', `${fixtures}llama-untied`, [long, [3, 1, 4]], 'q4 with zeros')
await decoder('qwen2', `${fixtures}qwen2`, [long, [3, 1, 4]], 'q8')
for (const name of ['bert-sentence', 'bert-head'])
  await encoder(name, fixtures + name, [long, [3, 1, 4]], 'f32')

await sameLogits(`${fixtures}llama-f16.gguf`)

/** One model as GGUF F16, as safetensors of the same halves, and as ONNX f32. */
async function sameLogits(path) {
  const [plain, onnx] = [join(work, 'plain'), join(work, 'onnx')]
  const logits = ({ model }) => model.load().forward(Uint32Array.from(long)).toArray()
  const expected = withModel(path, (open) => {
    const kept = [...matricesOf(open)].map((name) => [name, { keep: true, by: 'the check' }])
    const plan = planLayout(open, chosenTarget('pare'), { embedding: 'F16', choices: new Map(kept) })
    writePlan(plan, open.weights, plain)
    return logits(open)
  })
  exported(path, onnx, {})
  const runtime = await Decoder.open(join(onnx, 'model.onnx'))
  compare('GGUF F16 and safetensors', withModel(plain, logits), expected, 1e-3)
  compare('GGUF F16 and ONNX f32', await runtime.logits(long), expected, 1e-3)
}

// Pare's classifiers, with statistics that norms have after some training.
for (const [shape, image] of [
  [{ family: 'resnet', depth: 14, width: 8 }, [16, 12, 3]],
  [{ family: 'lenet', convolutions: [6, 10], hidden: 20 }, [28, 20, 1]],
  [{ family: 'mlp', hidden: [30, 20] }, [8, 6, 2]],
]) {
  const channels = Array(image[2])
  const normalise = { mean: [...channels].fill(0.4), deviation: [...channels].fill(0.3) }
  const fresh = freshClassifier({ shape, image, classes: ['a', 'b', 'c'], normalise }, { seed: 3 })
  for (const path of fresh.parameters.states().keys())
    if (/norm|bias/.test(path))
      fresh.parameters.update(path, (state) =>
        state.assign(randomStream(5, path).uniform(state.shape).add(0.5)),
      )
  const x = randomStream(2, 'images').normal([3, ...image])
  const logits = fresh.classifier.forward(x).toArray()
  for (const [kind, limit] of [
    ['f32', 1e-4],
    ['f16', 4e-3],
  ])
    await images(
      shape.family,
      classifierImages(fresh),
      x.permute([0, 3, 1, 2]).contiguous(),
      logits,
      kind,
      limit,
    )
}

const photographs = join(assets, 'data/images-skimage')
const { model: network, close } = openEfficientNetLite0(
  join(assets, 'models/efficientnet-lite0/efficientnet-lite0-57934424.pth'),
)
const colours = concat(
  await Promise.all(['chelsea.png', 'coffee.png'].map((name) => readMiddle(join(photographs, name), 224))),
  0,
)
const classes = network.load().forward(colours).toArray()
const pixels = colours.sub(127).div(128).permute([0, 3, 1, 2]).contiguous()
for (const [kind, limit] of [
  ['f32', 1e-3],
  ['f16', 1e-2],
])
  await images('EfficientNet-Lite0', efficientNetImages(network), pixels, classes, kind, limit)
close()

const minilm = join(assets, 'models/minilm')
const sentences = withModel(minilm, ({ tokenizer }) =>
  ['The quick brown fox jumps over the lazy dog.', 'Call me Ishmael.'].map((text) => [
    ...tokenizer().encode(text),
  ]),
)
for (const kind of ['f32', 'f16', 'q4', 'q8']) await encoder('MiniLM', minilm, sentences, kind)

const smollm = join(assets, 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf')
const texts = withModel(smollm, ({ tokenizer }) =>
  ['Call me Ishmael. Some years ago, never mind how long', 'Once upon a time'].map((text) => [
    ...tokenizer().encode(text),
  ]),
)
await decoder('SmolLM2', smollm, texts, 'f32', { limit: 1e-3 })
await decoder('SmolLM2', smollm, texts, 'f16')
await decoder('SmolLM2', smollm, texts, 'q4', { limit: 1e-3, keep: join(work, 'smollm2') })
finish()
