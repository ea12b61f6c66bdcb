/** The part of the OBC experiment on MiniLM: vectors of sentences of the speeches beside those of the floats. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drawFramedSamples, encoderWalk } from '#src/calibrate/encoder_walk.ts'
import type { LayerGrams } from '#src/calibrate/layer_grams.ts'
import { openLevels, writeLevels } from '#src/calibrate/level_database.ts'
import { decodeLevel } from '#src/calibrate/levels.ts'
import { readTokens } from '#src/calibrate/text_samples.ts'
import { compareVectors } from '#src/metrics/embeddings.ts'
import { spearman } from '#src/metrics/rank_correlation.ts'
import { Bert } from '#src/models/bert/bert.ts'
import { embedTexts } from '#src/models/bert/sentence_encoder.ts'
import { loadModel } from '#src/models/load_model.ts'
import { type OpenTextEncoder, textEncoder } from '#src/models/open_model.ts'
import { exactObs } from '#src/prune/exact_obs.ts'
import { obqLevels } from '#src/quantize/obq_levels.ts'
import { costOfLevel } from '#src/search/level_costs.ts'
import { stitch } from '#src/search/stitch.ts'
import { scope, type Tensor } from '#src/tensor/index.ts'
import {
  type Compressed,
  damping,
  gramsOfWalk,
  processorClock,
  rowGrid,
  twoOfFour,
  withWeights,
} from './obc_methods.ts'

export interface EncoderSetup {
  /** Of calibration, and tokens of each. */
  samples: number
  length: number
  /** Of the test. */
  sentences: number
}

export interface EncoderScores {
  /** Over the sentences: of the vectors of the result to those of the floats. */
  meanCosine: number
  leastCosine: number
  /** Spearman's, of the cosines of all pairs of sentences: result against floats. */
  rankCorrelation: number
}

/** Which weights are compressed. */
export const encoderMatrices = {
  /** All but those behind the activation. */
  'of 384 inputs': (name: string) => !/\d\.output\.dense/.test(name),
  all: () => true,
  'of the first attention': (name: string) => /layer\.0\.attention/.test(name),
} as const
export type EncoderMatrices = keyof typeof encoderMatrices

/** The model with its calibration. */
export interface EncoderLab {
  open: OpenTextEncoder
  layers: readonly LayerGrams[]
  sentences: readonly string[]
  floats: readonly Float32Array[]
  /** Of levels, once it is made. */
  database?: { folder: string; processorSeconds: number }
}

export async function openEncoder(
  assets: string,
  speeches: string,
  { samples, length, sentences: count }: EncoderSetup,
  matrices: EncoderMatrices,
  seed: number,
): Promise<EncoderLab> {
  const open = textEncoder(await loadModel(join(assets, 'models/minilm')))
  const { sentences, others } = sentencesApart(speeches, count)
  const work = mkdtempSync(join(tmpdir(), 'pare-experiment-'))
  try {
    const file = join(work, 'others.txt')
    writeFileSync(file, others)
    const tokenizer = open.tokenizer()
    const tokens = readTokens([file], { tokenizer, chatTemplates: open.chatTemplates() })
    const drawn = drawFramedSamples(tokens, tokenizer, { samples, length, seed })
    const walked = { model: encoderWalk(open.model), weights: open.weights }
    const layers = await gramsOfWalk(walked, drawn.samples, encoderMatrices[matrices])
    return { open, layers, sentences, floats: embedTexts(open, sentences) }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Words of a sentence that is tested. */
const [fewest, most] = [8, 60]

/**
 * Some different sentences, evenly spaced in a text, and the text without any of them.
 *
 * @throws Error where it holds fewer
 */
export function sentencesApart(text: string, count: number): { sentences: string[]; others: string } {
  const all = text
    .split(/(?<=[.!?])\s+/u)
    .map((sentence) => sentence.replace(/\s+/gu, ' ').trim())
    .filter((sentence) => sentence !== '')
  const isFit = (sentence: string) => {
    const words = sentence.split(' ').length
    return words >= fewest && words <= most
  }
  const different = [...new Set(all.filter(isFit))]
  if (different.length < count) throw new Error(`the text holds fewer than ${count} sentences`)
  const sentences = Array.from(
    { length: count },
    (_, i) => different[Math.floor((i * different.length) / count)]!,
  )
  const tested = new Set(sentences)
  return { sentences, others: all.filter((sentence) => !tested.has(sentence)).join(' ') }
}

/** Scores of the model with some weights exchanged. */
export function scoreEncoder(
  { open, sentences, floats }: EncoderLab,
  weights: ReadonlyMap<string, Tensor>,
): EncoderScores {
  const model = new Bert(open.model.config, withWeights(open.weights, weights))
  const found = embedTexts({ ...open, model }, sentences)
  const { meanCosine, leastCosine } = compareVectors(found, floats)
  return { meanCosine, leastCosine, rankCorrelation: spearman(pairCosines(found), pairCosines(floats)) }
}

/** Cosines of all pairs, first the later ones of the first vector. */
export function pairCosines(vectors: readonly Float32Array[]): Float64Array {
  const norms = vectors.map((x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0)))
  const pairs = new Float64Array((vectors.length * (vectors.length - 1)) / 2)
  let at = 0
  for (const [i, a] of vectors.entries())
    for (let j = i + 1; j < vectors.length; j++) {
      const b = vectors[j]!
      let dot = 0
      for (let k = 0; k < a.length; k++) dot += a[k]! * b[k]!
      pairs[at++] = dot / (norms[i]! * norms[j]!)
    }
  return pairs
}

/** Bits of the levels of a database, each also over 2:4. */
const levelBits = [2, 3, 4, 8] as const

/** One level for each layer, with the bytes that all layers take at one number of bits. */
export function stitchEncoder(
  lab: EncoderLab,
  level: '4 bits' | '3 bits',
): Compressed & { profile: Record<string, number> } {
  const { folder, processorSeconds } = databaseOf(lab)
  const clock = processorClock()
  const { layers, read } = openLevels(folder)
  const costs = { kind: 'bytes' } as const
  const base = layers.reduce(
    (sum, layer) => sum + costOfLevel(costs, layer, layer.levels.find((other) => other.level === level)!),
    0,
  )
  const { profile, cost } = stitch({ layers, costs, target: 1, base })
  const weights = new Map(layers.map(({ name }) => [name, decodeLevel(read(name, profile[name]!))]))
  const counts: Record<string, number> = {}
  for (const name of Object.values(profile)) counts[name] = (counts[name] ?? 0) + 1
  const size = lab.layers.reduce((sum, { weight }) => sum + weight.size, 0)
  return { weights, bits: 8 * cost, size, processorSeconds: processorSeconds + clock(), profile: counts }
}

function databaseOf(lab: EncoderLab): { folder: string; processorSeconds: number } {
  if (lab.database) return lab.database
  const clock = processorClock()
  const folder = mkdtempSync(join(tmpdir(), 'pare-levels-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const pruners = [
    { name: '2:4', method: exactObs({ pattern: twoOfFour, damping }), pattern: { n: 2, m: 4 } },
  ]
  const method = obqLevels({ grids: levelBits.map(rowGrid), pruners, damping })
  const database = writeLevels(folder)
  for (const { name, weight, groups, uses } of lab.layers)
    scope(() => {
      const task = { name, dense: weight, current: weight, statistics: groups[0]! }
      const shape = weight.shape as [number, number]
      database.add({ name, shape, uses: Math.round(uses) }, method.levels(task))
    })
  lab.database = { folder, processorSeconds: clock() }
  return lab.database
}
