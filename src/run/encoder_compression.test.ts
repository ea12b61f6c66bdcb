/** Text encoders, compressed to Pare folders and to ONNX. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readPassages } from '../calibrate/text_passages.ts'
import { setDisk } from '../formats/disk.ts'
import { asset } from '../formats/tokenizer/assets.suite.ts'
import { compareVectors } from '../metrics/embeddings.ts'
import { encoderPath } from '../models/bert/fixtures.suite.ts'
import { embedTexts } from '../models/bert/sentence_encoder.ts'
import { openModel } from '../models/load_model.ts'
import { randomStream } from '../tensor/index.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { plan } from './plan.ts'
import type { CompressionReport } from './report.ts'
import { readReport } from './report_file.ts'
import { diskUntil, isKilled, modelOf } from './small_run.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-encoders-'))
afterAll(() => rmSync(folder, { recursive: true }))
const text = join(folder, 'text.txt')
const words = randomStream(3, 'words').bits([4000]).toArray() as Uint32Array
const vocabulary = ['a cat', 'sat', 'on', 'the mat', 'b', 'k', 'cat', 'dogs', 'c d e', 'run', 'f']
writeFileSync(text, Array.from(words, (word) => vocabulary[word % vocabulary.length]).join(' '))

const options = (output: string, more: Partial<CompressOptions> = {}): CompressOptions => ({
  source: encoderPath('bert-sentence'),
  output: join(folder, output),
  bits: 4,
  groupSize: 8,
  calibration: [text],
  text: [text],
  windows: 6,
  samples: 24,
  probe: false,
  ...more,
})

function vectorsOf(path: string, texts: readonly string[]): Float32Array[] {
  const open = openModel(path)
  try {
    return embedTexts(open, texts)
  } finally {
    open.close()
  }
}

describe('a compressed encoder', () => {
  let report: CompressionReport
  const output = join(folder, 'out')
  beforeAll(async () => {
    report = await compress(options('out'))
  })

  test('is opened as the source is, with the files that say how vectors are made', () => {
    const open = openModel(output)
    expect(open).toMatchObject({ family: 'bert', format: 'pare' })
    open.close()
    const source = encoderPath('bert-sentence')
    for (const name of [
      'modules.json',
      '1_Pooling/config.json',
      'sentence_bert_config.json',
      'tokenizer.json',
    ])
      expect(readFileSync(join(output, name))).toEqual(readFileSync(join(source, name)))
  })
  test('is as near to its source as the report says', () => {
    const all = readFileSync(text, 'utf8').split(' ')
    // Six passages of 60 words, evenly spaced.
    const passages = Array.from({ length: 6 }, (_, i) => {
      const start = Math.floor((i * all.length) / 6)
      return all.slice(start, start + 60).join(' ')
    })
    const found = compareVectors(
      vectorsOf(output, passages),
      vectorsOf(encoderPath('bert-sentence'), passages),
    )
    expect(report.embeddings).toEqual(found)
    expect(found.meanCosine).toBeGreaterThan(0.9)
    expect(found.meanCosine).toBeLessThan(1)
  })
  test('stands beside round to nearest, which loses more of every output on the whole', () => {
    const [baseline] = report.baselines!
    expect(baseline).toMatchObject({ name: 'round to nearest', embeddings: { texts: 6 } })
    const sum = (of: 'relativeError' | 'relativeErrorRtn') =>
      report.layers.reduce((total, layer) => total + layer[of]!, 0)
    expect(sum('relativeError')).toBeLessThan(sum('relativeErrorRtn'))
  })
  test('has a card, a page and a record that tell of its vectors', () => {
    const shown = report.embeddings!.meanCosine.toFixed(5)
    for (const name of ['README.md', 'report.html'])
      expect(readFileSync(join(output, name), 'utf8')).toContain(shown)
    expect(readFileSync(join(output, 'README.md'), 'utf8')).toMatch(
      /pipeline_tag: sentence-similarity[\s\S]*mean cosine to the source/,
    )
    expect(readReport(output).embeddings).toEqual(report.embeddings)
  })
  test('has samples no longer than its texts', () => {
    expect(report.calibration).toMatchObject({ samples: 24, length: 12, tokens: 288 })
  })
})

test('a run that was killed behind any line of its journal goes on to the same model', async () => {
  await compress(options('whole', { evaluate: false }))
  for (const kind of ['stage', 'result', 'publish'] as const) {
    const run = () => compress(options(kind, { evaluate: false }))
    const before = setDisk(diskUntil(kind))
    try {
      await expect(run()).rejects.toSatisfy(isKilled)
    } finally {
      setDisk(before)
    }
    await run()
    expect(modelOf(join(folder, kind))).toEqual(modelOf(join(folder, 'whole')))
    expect(readdirSync(join(folder, kind)).sort()).toEqual(readdirSync(join(folder, 'whole')).sort())
    expect(existsSync(join(folder, kind, '1_Pooling/config.json'))).toBe(true)
  }
})

test('the plan of an encoder is the size of its result, and memory is planned for vectors', async () => {
  const report = await compress(options('planned', { overwrite: true, baselines: false }))
  const planned = await plan(options('planned'))
  expect(planned.bytes).toBe(report.bytes)
  const evaluation = planned.memory.find(({ phase }) => phase === 'evaluate')!
  expect(evaluation.parts.map(({ what }) => what)).toContain('the whole model')
  expect(planned.memory.some(({ phase }) => phase === 'sample')).toBe(false)
})
test('the time of an encoder is planned too', async () => {
  const { seconds } = await plan(options('timed', { probe: true }))
  expect(seconds!.phases.map(({ phase }) => phase)).toContain('evaluate')
})

const minilm = asset('models/minilm')
const speeches = asset('data/text-sotu/data')

test('the ONNX file of an encoder is as near to its source as the report says', async () => {
  const { embeddings, files } = await compress(
    options('onnx', { target: 'onnx', groupSize: 16, symmetric: false, baselines: false }),
  )
  expect(files).toEqual(expect.arrayContaining(['model.onnx', '1_Pooling/config.json']))
  const passages = readPassages([text], textSource(), { count: 6 }).texts
  expect(embeddings).toEqual(
    compareVectors(
      vectorsOf(join(folder, 'onnx'), passages),
      vectorsOf(encoderPath('bert-sentence'), passages),
    ),
  )
  expect(embeddings!.meanCosine).toBeGreaterThan(0.9)
})

function textSource() {
  const open = openModel(encoderPath('bert-sentence'))
  return { tokenizer: open.tokenizer(), chatTemplates: open.chatTemplates() }
}

describe.skipIf(!minilm || !speeches)(
  'MiniLM as ONNX, on 48 passages of 60 words of the speeches (needs PARE_ASSETS)',
  () => {
    const all = speeches
      ? readdirSync(speeches)
          .sort()
          .map((name) => readFileSync(join(speeches, name), 'utf8'))
          .join('\n\n')
          .split(/\s+/u)
          .filter((word) => word !== '')
      : []
    const [whole, others] = [join(folder, 'speeches.txt'), join(folder, 'other_parts.txt')]
    beforeAll(() => {
      const starts = Array.from({ length: 48 }, (_, i) => Math.floor((i * all.length) / 48))
      // No text of a passage, nor 100 words around it.
      const near = (i: number) => starts.some((start) => i >= start - 100 && i < start + 160)
      writeFileSync(whole, all.join(' '))
      writeFileSync(others, all.filter((_, i) => !near(i)).join(' '))
    })
    const run = (bits: number, more: Partial<CompressOptions>) =>
      compress({
        source: minilm!,
        output: join(folder, `minilm-${bits}`),
        target: 'onnx',
        bits,
        groupSize: 32,
        symmetric: false,
        text: [whole],
        windows: 48,
        baselines: false,
        probe: false,
        ...more,
      })

    test('8 bits keep a mean cosine of 0.9994 (needs PARE_ASSETS)', async () => {
      const { embeddings } = await run(8, { method: 'rtn' })
      expect(embeddings!.texts).toBe(48)
      expect(embeddings!.meanCosine).toBeGreaterThan(0.9994)
    }, 120_000)
    test('4 bits, calibrated on other parts of the speeches, keep one of 0.99 (needs PARE_ASSETS)', async () => {
      const { embeddings } = await run(4, { calibration: [others] })
      expect(embeddings!.texts).toBe(48)
      expect(embeddings!.meanCosine).toBeGreaterThan(0.99)
    }, 300_000)
  },
)
