/** Conversions of text encoders and of classifiers of images. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openOnnx } from '../../formats/onnx/onnx.ts'
import { createSafetensors } from '../../formats/safetensors/writer.ts'
import { asset } from '../../formats/tokenizer/assets.suite.ts'
import { compareVectors } from '../../metrics/embeddings.ts'
import { encoderPath, encoders, expectedOf } from '../../models/bert/fixtures.suite.ts'
import { embedTexts } from '../../models/bert/sentence_encoder.ts'
import { type ClassifierShape, classifierToJson } from '../../models/classifiers/classifier_config.ts'
import { freshClassifier } from '../../models/classifiers/load_classifier.ts'
import { openModel } from '../../models/load_model.ts'
import { foldNorm } from '../../nn/batch_norm_folding.ts'
import { FormatError, OptionError, QualityError } from '../../tensor/errors.ts'
import { randomStream, scope } from '../../tensor/index.ts'
import { convert } from './convert.ts'
import type { ConvertOptions } from './convert_options.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'convert-families-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

let made = 0
async function converted(source: string, options: Omit<ConvertOptions, 'source' | 'output'>) {
  const output = join(folder, `result-${++made}`)
  return { report: await convert({ source, output, ...options }), output }
}
function vectorsOf(path: string, texts: readonly string[]): Float32Array[] {
  const open = openModel(path)
  try {
    return embedTexts(open, texts)
  } finally {
    open.close()
  }
}

describe.each(encoders)('%s', (name) => {
  const { texts } = expectedOf(name)
  const path = encoderPath(name)

  test.each(['onnx', 'transformers.js', 'pare'] as const)(
    'in f32 the result for %s has every value and gives the very vectors',
    async (target) => {
      const source = join(folder, `${name}-whole`)
      cpSync(path, source, { recursive: true })
      if (!existsSync(join(source, 'tokenizer_config.json')))
        writeFileSync(join(source, 'tokenizer_config.json'), '{}')
      const { report, output } = await converted(source, { target, lossless: true })
      expect(report).toMatchObject({ lossless: true, relativeError: 0, warnings: [] })
      expect(vectorsOf(output, texts)).toEqual(vectorsOf(path, texts))
    },
  )
  test('in f16 every value is that or rounded to it, and the vectors are near', async () => {
    const { report, output } = await converted(path, { target: 'onnx', type: 'f16' })
    expect(new Set(report.weights.map(({ to }) => to))).toEqual(new Set(['F16', 'F32']))
    // The small ones stay f32: at most a sixteenth of all numbers.
    const bytesOf = (type: string) =>
      report.weights.reduce((sum, { to, bytes }) => sum + (to === type ? bytes : 0), 0)
    expect(16 * (bytesOf('F32') / 4)).toBeLessThanOrEqual(bytesOf('F32') / 4 + bytesOf('F16') / 2)
    // One of the two is stored in halves.
    expect(report.lossless).toBe(report.weights.every(({ from }) => from === 'F16'))
    expect(report.lossless).toBe(name === 'bert-head')
    // Halves are within 2^-11 of what they round, so that squares of errors are within 2^-22 of those of values.
    expect(report.relativeError).toBeLessThan(2 ** -22)
    const { leastCosine } = compareVectors(vectorsOf(output, texts), vectorsOf(path, texts))
    expect(leastCosine).toBeGreaterThan(0.9999)
  })
  test('with bits its matrices are codes, and become the same codes for other targets', async () => {
    const given = { target: 'onnx', bits: 4, groupSize: 16 } as const
    const { report, output } = await converted(path, given)
    expect(report.counts.requantised).toBe(0)
    const coded = report.weights.filter(({ to }) => /^4 bits, groups of 16/.test(to))
    expect(coded.map(({ role }) => role)).toEqual(coded.map(() => 'matrix'))
    expect(coded.length).toBeGreaterThan(0)
    const again = await converted(output, { target: 'pare', lossless: true })
    expect(again.report.lossless).toBe(true)
    expect(vectorsOf(again.output, texts)).toEqual(vectorsOf(output, texts))
  })
})

/** A folder as a training writes it, with norms that do something. */
function writeClassifier(shape: ClassifierShape, type: 'f32' | 'f16' = 'f32') {
  const target = join(folder, `classifier-${++made}`)
  const config = {
    ...{ shape, image: [8, 8, 1] as const, classes: ['cat', 'dog'] },
    normalise: { mean: [0.5], deviation: [0.25] },
  }
  const { parameters } = freshClassifier(config)
  mkdirSync(target)
  writeFileSync(join(target, 'config.json'), JSON.stringify(classifierToJson(config)))
  writeFileSync(join(target, 'LICENSE'), 'free')
  const states = [...parameters.states()]
  const infos = states.map(([name, state]) => ({ name, shape: state.shape, type: type.toUpperCase() }))
  const writer = createSafetensors(join(target, 'model.safetensors'), infos)
  for (const [name, { shape }] of states)
    scope(() => writer.append(name, randomStream(1, name).uniform(shape).add(0.5).cast(type).bytes()))
  writer.finish()
  parameters.dispose()
  return target
}
const random = (name: string, shape: readonly number[]) => randomStream(1, name).uniform(shape).add(0.5)

describe('a classifier that Pare trained', () => {
  test.each<[string, ClassifierShape, number]>([
    ['resnet', { family: 'resnet', depth: 8, width: 4 }, 7],
    ['lenet', { family: 'lenet', convolutions: [2, 3], hidden: 5 }, 0],
    ['mlp', { family: 'mlp', hidden: [6] }, 0],
  ])('%s: every value is in the graph, norms inside of convolutions', async (_, shape, norms) => {
    const source = writeClassifier(shape)
    for (const [target, file] of [
      ['onnx', 'model.onnx'],
      ['transformers.js', 'onnx/model.onnx'],
    ] as const) {
      const { report, output } = await converted(source, { target, lossless: true })
      expect(report).toMatchObject({ lossless: true, relativeError: 0 })
      expect(report.files).toEqual(['LICENSE', 'config.json', file, 'preprocessor_config.json'])
      const note = `the batch norms of ${norms} convolutions are inside of their weights`
      expect(report.notes.map((text) => text.slice(0, note.length))).toEqual(norms > 0 ? [note] : [])
      const config = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8'))
      expect(config.id2label).toEqual({ 0: 'cat', 1: 'dog' })
    }
  })
  test('the numbers of the graph are those of the folded norm', async () => {
    const { output } = await converted(writeClassifier({ family: 'resnet', depth: 8, width: 4 }), {
      target: 'onnx',
    })
    const archive = openOnnx(join(output, 'model.onnx'))
    scope(() => {
      const norm = (part: string) => random(`stem.norm.${part}`, [4])
      const folded = foldNorm(
        random('stem.conv.weight', [4, 3, 3, 1]).permute([0, 3, 1, 2]),
        undefined,
        ...([
          {
            ...{ weight: norm('weight'), bias: norm('bias') },
            ...{ mean: norm('running_mean'), variance: norm('running_var') },
          },
          1e-5,
        ] as const),
      )
      const found = new Float32Array(archive.read('stem.conv.weight').slice().buffer)
      expect(found).toEqual(folded.weight.contiguous().toArray())
    })
    archive.close()
  })
  test('of f16 says so, and with --type f16 is rounded where a norm was folded', async () => {
    const source = writeClassifier({ family: 'mlp', hidden: [6] }, 'f16')
    const { report } = await converted(source, { target: 'onnx', type: 'f16', lossless: true })
    expect(report.weights.every(({ from }) => from === 'F16')).toBe(true)
    expect(report.weights.find(({ name }) => name === 'fc1.weight')!.to).toBe('F16')
    const network = writeClassifier({ family: 'resnet', depth: 8, width: 4 }, 'f16')
    await expect(
      convert({
        source: network,
        output: join(folder, 'lossy'),
        target: 'onnx',
        type: 'f16',
        lossless: true,
      }),
    ).rejects.toThrow(QualityError)
    expect(existsSync(join(folder, 'lossy'))).toBe(false)
  })
  test('with bits its linear layers are codes', async () => {
    const source = writeClassifier({ family: 'lenet', convolutions: [2, 3], hidden: 32 })
    const { report } = await converted(source, { target: 'onnx', bits: 8, groupSize: 16 })
    const coded = report.weights.filter(({ to }) => /^8 bits/.test(to)).map(({ name }) => name)
    expect(coded).toEqual(['fc1.weight', 'fc2.weight'])
  })
})

describe('nothing is written', () => {
  const places = () => readdirSync(folder).filter((name) => /none|part/.test(name))
  test.each(['gguf', 'vllm', 'transformers', 'mlx', 'gptq'] as const)(
    'of an encoder for %s, and the message names what takes it',
    async (target) => {
      const run = convert({ source: encoderPath('bert-head'), output: join(folder, 'none'), target })
      await expect(run).rejects.toThrow(OptionError)
      await expect(run).rejects.toThrow(
        /choose --target pare, onnx or transformers\.js, and bert-head is a text/,
      )
      expect(places()).toEqual([])
    },
  )
  test('of plain numbers of an encoder for transformers', async () => {
    const given = { source: encoderPath('bert-head'), output: join(folder, 'none') }
    await expect(convert({ ...given, target: 'transformers', type: 'f16' })).rejects.toMatchObject({
      code: 'PARE_E_NO_LANGUAGE_MODEL',
    })
  })
  test.each(['gguf', 'pare', 'transformers'] as const)(
    'of a classifier for %s, and the message names what takes it',
    async (target) => {
      const source = writeClassifier({ family: 'mlp', hidden: [6] })
      const run = convert({ source, output: join(folder, 'none'), target })
      await expect(run).rejects.toThrow(
        /is a classifier of images, which --target onnx and transformers\.js hold/,
      )
      expect(places()).toEqual([])
    },
  )
})

test('the torch file of another network is refused by the first weight that it lacks', async () => {
  const source = fileURLToPath(new URL('../../../interop/torch_files/zip.pth', import.meta.url))
  const run = convert({ source, output: join(folder, 'none'), target: 'onnx' })
  await expect(run).rejects.toThrow(FormatError)
  await expect(run).rejects.toThrow(
    /EfficientNet-Lite0 is known, this is another network \(_conv_stem\.weight.*export it/,
  )
})

const minilm = asset('models/minilm')
test.skipIf(!minilm)(
  'MiniLM becomes ONNX in f32 without a loss, and half as large in f16 (needs PARE_ASSETS)',
  async () => {
    const texts = ['A cat sits on the mat.', 'Rates rose by a quarter point.']
    const wanted = vectorsOf(minilm!, texts)
    const wide = await converted(minilm!, { target: 'onnx', lossless: true })
    expect(wide.report.weights).toHaveLength(101)
    expect(vectorsOf(wide.output, texts)).toEqual(wanted)
    const half = await converted(minilm!, { target: 'transformers.js', type: 'f16' })
    expect(half.report.files).toContain('onnx/model_fp16.onnx')
    expect(half.report.bytes).toBeLessThan(0.51 * wide.report.bytes)
    expect(compareVectors(vectorsOf(half.output, texts), wanted).leastCosine).toBeGreaterThan(0.99999)
  },
)

const efficientnet = asset('models/efficientnet-lite0')
test.skipIf(!efficientnet)(
  'EfficientNet-Lite0 becomes ONNX from its folder (needs PARE_ASSETS)',
  async () => {
    const { report, output } = await converted(efficientnet!, { target: 'onnx', lossless: true })
    expect(report.files).toEqual(['LICENSE', 'config.json', 'model.onnx', 'preprocessor_config.json'])
    // A weight and a bias for each of 49 convolutions and the classifier.
    expect(report.weights).toHaveLength(100)
    expect(report.notes).toEqual([expect.stringMatching(/^the batch norms of 49 convolutions/)])
    const archive = openOnnx(join(output, 'model.onnx'))
    expect(archive.parsed.model.graph.nodes.filter(({ opType }) => opType === 'Conv')).toHaveLength(49)
    archive.close()
    const half = await converted(efficientnet!, { target: 'onnx', type: 'f16' })
    expect(half.report.relativeError).toBeLessThan(2 ** -22)
    // A half, a sixteenth of the numbers in f32, and the graph.
    expect(half.report.bytes).toBeLessThan((1 / 2 + 1 / 32 + 0.005) * report.bytes)
  },
)
