#!/usr/bin/env node
// onnxruntime on ONNX exports, against Pare on the same weights: exports_check.js ASSETS WORK
//
// Every export is compared with Pare on the numbers that it reads back from the file, so that only the arithmetic differs.
// Exports of floats are compared with Pare on the weights of the source in f32 as well, with what storing them loses.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freshClassifier } from '../../dist/models/classifiers/load_classifier.js'
import { readMiddle } from '../../dist/models/efficientnet/classify_image.js'
import { openEfficientNetLite0 } from '../../dist/models/efficientnet/efficientnet.js'
import { openModel } from '../../dist/models/load_model.js'
import { findOnnx } from '../../dist/models/onnx/export_names.js'
import { classifierImages, efficientNetImages } from '../../dist/models/onnx/image_sources.js'
import { onnxSource } from '../../dist/models/onnx/onnx_source.js'
import { padded } from '../../dist/models/padded_batches.js'
import { planFloats } from '../../dist/models/write/float_target.js'
import { folderSource, matricesOf } from '../../dist/models/write/target.js'
import { planLayout } from '../../dist/run/target_plan.js'
import { chosenTarget } from '../../dist/run/targets.js'
import { concat, randomStream, scope } from '../../dist/tensor/index.js'
import { Decoder, encoderStates, imageLogits } from './decoder_session.js'
import { check, farthest, finish, kinds, writeExport, writePlan } from './write_export.js'

const [assets, work] = process.argv.slice(2)
const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url))

/** Of the largest logit. Sums of f32 in another order; in f16 each activation is rounded to 11 bits, layer after layer. */
const near = { F32: 1e-4, F16: 4e-3 }
/** Of the largest logit, against the source in f32: weights of f16 are rounded to 11 bits, once. */
const far = { F32: 1e-3, F16: 4e-3 }
const limitOf = (limits, kind) => limits[kinds[kind].activations ?? 'F32']
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

const decoderLogits = (path, sequences) =>
  withModel(path, ({ model }) => {
    const resident = model.load()
    return sequences.map((ids) => resident.forward(Uint32Array.from(ids)).toArray())
  })

async function decoder(title, path, sequences, kind, { keep, limit = limitOf(far, kind) } = {}) {
  const folder = keep ?? join(work, 'decoder')
  exported(path, folder, { ...kinds[kind], ...(keep ? { layout: 'transformers.js' } : {}) })
  const expected = decoderLogits(folder, sequences)
  const most = limitOf(near, kind)
  const runtime = await Decoder.open(findOnnx(folder))
  const [ids] = sequences
  const found = await runtime.logits(ids)
  compare(`${title} ${kind}: one pass`, found, expected[0], most)
  if (!kinds[kind].grid) {
    const [source] = decoderLogits(path, [ids])
    compare(`${title} ${kind}: against the source in f32`, found, source, limit)
  }
  compare(`${title} ${kind}: with a cache`, await runtime.logits(ids, ids.length - 3), expected[0], most)
  for (const side of ['before', 'behind']) {
    const rows = await runtime.padded(sequences, side)
    const distance = Math.max(...rows.map((row, i) => farthest(row, expected[i])))
    check(`${title} ${kind}: filled ${side}`, distance <= most, distance.toExponential(1))
  }
  await runtime.session.release()
  if (!keep) rmSync(folder, { recursive: true })
}

const encoderOutputs = (path, sequences) =>
  withModel(path, ({ model }) => {
    const resident = model.load()
    return sequences.flatMap((ids) => [
      ...resident.forward(padded([Uint32Array.from(ids)], model.config.padId)).toArray(),
    ])
  })

async function encoder(title, path, sequences, kind) {
  const folder = join(work, 'encoder')
  exported(path, folder, kinds[kind])
  const states = await encoderStates(join(folder, 'model.onnx'), sequences)
  compare(`${title} ${kind}`, states, encoderOutputs(folder, sequences), limitOf(near, kind))
  if (!kinds[kind].grid)
    compare(
      `${title} ${kind}: against the source in f32`,
      states,
      encoderOutputs(path, sequences),
      limitOf(far, kind),
    )
  rmSync(folder, { recursive: true })
}

/** @param expected of the weights in f32 */
async function images(title, model, input, expected, kind) {
  const folder = join(work, 'images')
  writeExport(model, folder, kinds[kind])
  const found = await imageLogits(join(folder, 'model.onnx'), input.toArray(), input.shape)
  compare(`${title} ${kind}: against the source in f32`, found, expected, limitOf(far, kind))
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
for (const kind of ['f16', 'f16 arithmetic', 'q4 with zeros', 'q4 and f16', 'q4f16'])
  await decoder('llama-untied', `${fixtures}llama-untied`, [long, [3, 1, 4]], kind)
await decoder('llama-tied', `${fixtures}llama-tied`, [long, [3, 1, 4]], 'f16')
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
  const turned = x.permute([0, 3, 1, 2]).contiguous()
  for (const kind of ['f32', 'f16', 'f16 arithmetic'])
    await images(shape.family, classifierImages(fresh), turned, logits, kind)
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
for (const kind of ['f32', 'f16', 'f16 arithmetic'])
  await images('EfficientNet-Lite0', efficientNetImages(network), pixels, classes, kind)
close()

const minilm = join(assets, 'models/minilm')
const sentences = withModel(minilm, ({ tokenizer }) =>
  ['The quick brown fox jumps over the lazy dog.', 'Call me Ishmael.'].map((text) => [
    ...tokenizer().encode(text),
  ]),
)
for (const kind of ['f32', 'f16', 'f16 arithmetic', 'q4', 'q8'])
  await encoder('MiniLM', minilm, sentences, kind)

const smollm = join(assets, 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf')
const texts = withModel(smollm, ({ tokenizer }) =>
  ['Call me Ishmael. Some years ago, never mind how long', 'Once upon a time'].map((text) => [
    ...tokenizer().encode(text),
  ]),
)
await decoder('SmolLM2', smollm, texts, 'f32')
await decoder('SmolLM2', smollm, texts, 'q4', { keep: join(work, 'smollm2-q4') })
// What Q4_1 decodes to has more than the 11 digits of f16, whatever computes with it.
const roundedOnce = { limit: 2e-3 }
await decoder('SmolLM2 of Q4_1', smollm, texts, 'f16', roundedOnce)
// As its authors published it: in BF16.
const published = join(work, 'smollm2-bf16')
withModel(smollm, (open) =>
  writePlan(planFloats(folderSource(open), { type: 'BF16' }), open.weights, published),
)
await decoder('SmolLM2', published, texts, 'f16', { keep: join(work, 'smollm2-f16') })
await decoder('SmolLM2', published, texts, 'f16 arithmetic', { keep: join(work, 'smollm2-f16-arithmetic') })
await decoder('SmolLM2', published, texts, 'q4f16')
rmSync(published, { recursive: true })
finish()
