/**
 * One compression by any steps, held against its source: what the experiments on one-shot methods share.
 *
 *   smollm2      64 samples of 512 tokens of Moby Dick; 20 windows of 512 tokens of the speeches
 *   the zoo      64 samples of 256 tokens of its training text; 32 windows of 256 tokens of its held-out text
 *
 * The model `NAME with outliers` is a model of the zoo whose norms got channels 16 times as large, see planted_outliers.ts.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CompressOptions, compress } from 'pare'
import { stepMethod } from '#src/run/step_methods.ts'
import type { WeightStep } from '#src/run/weight_step.ts'
import type { Job, Stamp } from './experiment.ts'
import { corpus } from './models/corpus.ts'
import { zooModel } from './models/zoo.ts'
import { plantOutliers, withOutliers } from './planted_outliers.ts'

/** Size of the calibration and of the test. */
export interface Setup {
  samples: number
  length: number
  context: number
  windows: number
  /** Every n-th window of the text is taken. */
  every: number
}

export interface OneShotJob extends Job {
  model: string
  /** Says all of the steps. */
  name: string
  /** As `compress` takes them. */
  steps: readonly WeightStep[]
  setup: Setup
}

export interface OneShotRun extends OneShotJob, Stamp {
  parameters: number
  /** First digits of SHA-256. */
  hashes: { weights: string; calibration?: string; text: string }
  /** A linear weight, scales, masks, codebooks and orders included. */
  storedBits: number
  /** Of the linear weights, and of the whole weight file. */
  bytes: number
  fileBytes: number
  /** Nats a token, from the source; with the standard error of the mean over windows. */
  kl: number
  klStandardError: number
  /** What 99 of 100 tokens do not exceed; the first runs did not measure it. */
  kl99?: number
  perplexity: number
  perplexitySource: number
  top1: number
  /** Mean over layers of the relative error of their outputs on the calibration text; of the weights where none is read. */
  relativeError: number
  calibrationTokens: number
  /** Of compression and evaluation; other programs may have run beside it. */
  seconds: number
  /** Resident memory of the process, which holds what earlier runs left. */
  peakMemoryBytes: number
  /** Layers whose matrix had no factor, so that damping went up. */
  damped: number
  /** What the report remarks. */
  notes: readonly string[]
}

export const setups = {
  smollm2: { samples: 64, length: 512, context: 512, windows: 20, every: 50 },
  zoo: { samples: 64, length: 256, context: 256, windows: 32, every: 34 },
  quick: { samples: 16, length: 256, context: 256, windows: 8, every: 100 },
} as const satisfies Record<string, Setup>

/** Whether some step looks at a text, so that seeds differ. */
export const readsText = (steps: readonly WeightStep[]): boolean =>
  steps.some(({ method = 'gptq' }) => stepMethod(method).needs.length > 0)

export async function measure(
  { model, steps, seed, setup }: OneShotJob,
  assets: string,
): Promise<Omit<OneShotRun, keyof OneShotJob | keyof Stamp>> {
  const work = mkdtempSync(join(tmpdir(), 'pare-experiment-'))
  try {
    const source = await sourceOf(model, assets, work)
    const { calibration, text } = model === 'smollm2' ? smolTexts(assets) : zooTexts(assets, work)
    const { samples, length, context, windows, every } = setup
    const needed = readsText(steps)
    let size = { parameters: 0, weights: 0 }
    const report = await compress(
      {
        ...{ source, output: join(work, 'model'), target: 'pare', steps, seed },
        ...(needed ? { calibration, samples, length } : {}),
        ...{ text, context, windows, every },
        ...{ sideBySide: false, baselines: false, verify: false, probe: false },
      } satisfies CompressOptions,
      {
        progress(event) {
          if (event.kind !== 'plan') return
          const matrices = event.plan.tensors.filter(({ role }) => role === 'matrix')
          const weights = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
          size = { parameters: event.plan.parameters, weights }
        },
      },
    )
    if (report.tokens !== windows * (context - 1))
      throw new Error(`${model}: the text holds fewer than ${windows} windows`)
    if (!Number.isFinite(report.kl)) throw new Error(`${model}: the KL is ${report.kl}`)
    return {
      parameters: size.parameters,
      hashes: {
        weights: shortHash([weightsOf(source)]),
        ...(needed ? { calibration: shortHash(calibration) } : {}),
        text: shortHash(text),
      },
      storedBits: report.bitsPerWeight,
      bytes: Math.round((report.bitsPerWeight * size.weights) / 8),
      fileBytes: report.bytes,
      kl: report.kl!,
      klStandardError: report.klStandardError!,
      kl99: report.kl99!,
      perplexity: report.perplexity!,
      perplexitySource: report.perplexitySource!,
      top1: report.top1!,
      relativeError:
        report.layers.reduce((sum, layer) => sum + layer.relativeError, 0) / report.layers.length,
      calibrationTokens: report.calibration?.tokens ?? 0,
      seconds: report.seconds,
      peakMemoryBytes: Math.max(...(report.memory ?? []).map(({ bytes }) => bytes)),
      damped: report.layers.filter(({ notes }) => notes.some((note) => note.includes('damping'))).length,
      notes: report.notes,
    }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

async function sourceOf(model: string, assets: string, work: string): Promise<string> {
  if (model === 'smollm2') return join(assets, 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf')
  if (!model.endsWith(withOutliers)) return zooModel(model, { assets })
  const planted = join(work, 'planted')
  plantOutliers(await zooModel(model.slice(0, -withOutliers.length), { assets }), planted)
  return planted
}

const weightsOf = (source: string): string =>
  existsSync(source) && statSync(source).isDirectory() ? join(source, 'model.safetensors') : source

function shortHash(files: readonly string[]): string {
  const hash = createHash('sha256')
  for (const file of files) hash.update(readFileSync(file))
  return hash.digest('hex').slice(0, 16)
}

interface Texts {
  calibration: string[]
  text: string[]
}

function smolTexts(assets: string): Texts {
  const speeches = join(assets, 'data/text-sotu/data')
  const names = readdirSync(speeches).filter((name) => name.endsWith('.txt'))
  return {
    calibration: [join(assets, 'data/text-moby-dick/data/data.txt')],
    text: names.sort().map((name) => join(speeches, name)),
  }
}

/** The held-out text whole, and a twentieth of the training text in pieces from all of it. */
export function zooTexts(assets: string, work: string): Texts {
  const { train, heldOut } = corpus({ assets })
  const [calibration, text] = [join(work, 'training.txt'), join(work, 'held_out.txt')]
  writeFileSync(calibration, piecesOf(train.map(({ text }) => text).join('\n\n')).join('\n\n'))
  writeFileSync(text, heldOut.map(({ text }) => text).join('\n\n'))
  return { calibration: [calibration], text: [text] }
}

/** Every twentieth piece of 4000 characters. */
export const piecesOf = (text: string): string[] =>
  Array.from({ length: Math.ceil(text.length / 80_000) }, (_, i) => text.slice(i * 80_000, i * 80_000 + 4000))
