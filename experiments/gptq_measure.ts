/** One run of the GPTQ experiment, and a small one that tells kernels apart. */
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compress, evaluate } from 'pare'
import type { Stamp } from './experiment.ts'
import { type Configuration, isValidated, type Run, type Setup } from './gptq_result.ts'

export interface ExperimentFiles {
  /** A GGUF file. */
  model: string
  /** Texts to calibrate with. */
  calibration: string[]
  /** Texts to test with, in their order. */
  text: string[]
}

type Job = Configuration & Pick<Run, 'seed' | 'setup'>

/** Compresses and evaluates. */
export async function measure(
  { method, bits, group, symmetric, order, seed, setup }: Job,
  files: ExperimentFiles,
): Promise<Omit<Run, keyof Stamp>> {
  return withFolder(async (output) => {
    const report = await compress({
      ...optionsOf({ method, bits, group, symmetric, order, seed, setup }, files),
      output,
    })
    const { context, windows, every } = setup
    const found = await evaluate({
      model: output,
      against: files.model,
      text: files.text,
      context,
      windows,
      every,
    })
    if (found.tokens !== windows * (context - 1))
      throw new Error(`the text holds fewer than ${windows} windows`)
    const validation = isValidated({ method, bits, group, symmetric, order })
      ? await evaluate({ model: output, against: files.model, context, windows, every: 2 })
      : undefined
    return {
      method,
      bits,
      group,
      symmetric,
      order,
      seed,
      setup,
      storedBits: report.bitsPerWeight,
      perplexity: found.perplexity,
      perplexitySource: found.perplexitySource!,
      kl: found.kl!,
      klStandardError: found.klStandardError!,
      top1: found.top1!,
      ...(validation ? { klValidation: validation.kl! } : {}),
      seconds: report.seconds,
    }
  })
}

/**
 * The first 16 hex digits of the SHA-256 of what GPTQ makes of the model with two samples: forwards, Grams, factors and
 * the sweep all leave their last bits in it. It depends on the instruction set and on nothing else of the machine.
 */
export async function numericsOf(files: ExperimentFiles): Promise<string> {
  const setup: Setup = { samples: 2, length: 512, context: 0, windows: 0, every: 0 }
  const job: Job = {
    method: 'gptq',
    bits: 3,
    group: 64,
    symmetric: false,
    order: 'static act-order',
    seed: 0,
    setup,
  }
  return withFolder(async (output) => {
    await compress({ ...optionsOf(job, files), output })
    const bytes = readFileSync(join(output, 'model.safetensors'))
    // Behind the header, which names the version.
    const data = bytes.subarray(8 + Number(bytes.readBigUInt64LE()))
    return createHash('sha256').update(data).digest('hex').slice(0, 16)
  })
}

const optionsOf = ({ method, bits, group, symmetric, order, seed, setup }: Job, files: ExperimentFiles) =>
  ({
    source: files.model,
    target: 'pare',
    method,
    bits,
    groupSize: group,
    symmetric,
    actOrder: order !== 'file',
    staticGroups: order === 'static act-order',
    calibration: files.calibration,
    samples: setup.samples,
    length: setup.length,
    seed,
    evaluate: false,
    probe: false,
  }) as const

async function withFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const work = mkdtempSync(join(tmpdir(), 'pare-experiment-'))
  try {
    return await body(join(work, 'model'))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
