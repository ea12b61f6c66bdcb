/** One run of the encoder experiment: MiniLM to ONNX, and its vectors beside those of the floats. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compress } from 'pare'
import type { Job, Stamp } from './experiment.ts'

/** What GPTQ calibrates on: the speeches without what is near a passage, or the text that comes with Pare. */
export const texts = ['other speeches', 'shipped'] as const

export interface EncoderJob extends Job {
  method: 'rtn' | 'gptq'
  bits: 4 | 8
  /** Codes around a fixed middle, or with a zero for each block. */
  symmetric: boolean
  /** Absent for round to nearest, which reads none. */
  calibration?: (typeof texts)[number]
  setup: Setup
}

export interface Setup {
  /** Inputs that share a scale. */
  block: number
  passages: number
  /** Of calibration, and tokens of each. */
  samples: number
  length: number
}

export interface EncoderRun extends EncoderJob, Stamp {
  /** Over the passages: of the vectors of the result to those of the floats. */
  meanCosine: number
  leastCosine: number
  /** Stored bits a linear weight, scales and zeros included. */
  storedBits: number
  /** Of model.onnx, the embedding in floats included. */
  bytes: number
  /** Time to compress and compare; other programs may have run beside it. */
  seconds: number
}

export const passageWords = 60
/** Words before and behind a passage that no calibration text holds. */
const distance = 100

/** The words of a text but those of the passages and near them; passage i of n begins with word floor(i * all / n). */
export function wordsApart(all: readonly string[], passages: number): string[] {
  const isNear = new Uint8Array(all.length)
  for (let i = 0; i < passages; i++) {
    const start = Math.floor((i * all.length) / passages)
    isNear.fill(1, Math.max(0, start - distance), start + passageWords + distance)
  }
  return all.filter((_, i) => isNear[i] === 0)
}

/** @throws Error where the text holds fewer passages than the job asks for */
export async function measure(
  { method, bits, symmetric, calibration, seed, setup }: EncoderJob,
  assets: string,
): Promise<Omit<EncoderRun, keyof EncoderJob | keyof Stamp>> {
  const work = mkdtempSync(join(tmpdir(), 'pare-experiment-'))
  try {
    const all = speeches(assets)
    const [text, others] = [join(work, 'speeches.txt'), join(work, 'others.txt')]
    writeFileSync(text, all.join(' '))
    writeFileSync(others, wordsApart(all, setup.passages).join(' '))
    const { embeddings, bitsPerWeight, bytes, seconds } = await compress({
      source: join(assets, 'models/minilm'),
      output: join(work, 'model'),
      target: 'onnx',
      method,
      bits,
      symmetric,
      groupSize: setup.block,
      ...(calibration === 'other speeches' ? { calibration: [others] } : {}),
      samples: setup.samples,
      length: setup.length,
      seed,
      text: [text],
      windows: setup.passages,
      baselines: false,
      probe: false,
    })
    if (embeddings?.texts !== setup.passages)
      throw new Error(`the text holds fewer than ${setup.passages} passages`)
    return {
      meanCosine: embeddings.meanCosine,
      leastCosine: embeddings.leastCosine,
      storedBits: bitsPerWeight,
      bytes,
      seconds,
    }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Words of all speeches, files in alphabetical order. */
function speeches(assets: string): string[] {
  const folder = join(assets, 'data/text-sotu/data')
  return readdirSync(folder)
    .filter((name) => name.endsWith('.txt'))
    .sort()
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n\n')
    .split(/\s+/u)
    .filter((word) => word !== '')
}
