/** What Pare can do with a model, step by step, from headers alone. Works without the native core. */
import type { GgufArchive } from '../formats/gguf/container.ts'
import { isIntegerType } from '../formats/safetensors/decode.ts'
import { tokenizerJsonOfGguf } from '../formats/tokenizer/gguf_tokenizer.ts'
import { loadVocabulary } from '../formats/tokenizer/vocabulary.ts'
import { isPositionIds } from '../models/bert/names.ts'
import { languageModel, type OpenModel, textEncoder } from '../models/open_model.ts'
import { matricesOf } from '../models/write/target.ts'
import { roleOf } from '../models/write/tensor_plan.ts'
import { isBlockType } from '../nn/block_types.ts'
import { FormatError, PareError, printable } from '../tensor/errors.ts'
import { resolveOptions, type TargetName } from './compress_options.ts'
import { forFamily } from './encoder_options.ts'
import { fitGroups } from './fit_groups.ts'
import { planTarget } from './target_plan.ts'
import { targetNames } from './targets.ts'

export type SupportedStep = 'compress' | 'evaluate' | 'generate' | 'embed' | `export ${TargetName}`

export interface Support {
  step: SupportedStep
  possible: boolean
  /** Why it is not. */
  reason?: string
  /** What must be asked for, where the defaults do not fit: `--group-size 32`. */
  flags?: string
}

const steps: readonly SupportedStep[] = [
  'compress',
  'evaluate',
  'generate',
  'embed',
  ...targetNames.map((target) => `export ${target}` as const),
]

/** A model that cannot be opened at all. */
export const unsupported = (reason: string): Support[] =>
  steps.map((step) => ({ step, possible: false, reason }))

/** Every step for an open model; what only its data or tokenizer rules can tell may still stop one. */
export function supportOf(open: OpenModel): Support[] {
  const exports = targetNames.map((target) => exportTo(target, open))
  // One target is enough.
  const compress = exports.find(({ possible }) => possible) ?? exports[0]!
  const onText = reasonOf(() => {
    checkTypes(languageModel(open))
    checkTokenizer(open)
  })
  const embed = reasonOf(() => {
    textEncoder(open)
    checkTokenizer(open)
  })
  return [
    stepOf('compress', compress.reason),
    stepOf('evaluate', onText),
    stepOf('generate', onText),
    stepOf('embed', embed),
    ...exports,
  ]
}

const stepOf = (step: SupportedStep, reason: string | undefined): Support =>
  reason === undefined ? { step, possible: true } : { step, possible: false, reason }

/** Plans the target with its defaults, and with a group size that fits where the default does not. */
function exportTo(target: TargetName, open: OpenModel): Support {
  const step = `export ${target}` as const
  const planned = (groupSize?: number | 'row') =>
    errorOf(() => {
      checkTypes(open)
      const grid = groupSize === undefined ? {} : { groupSize }
      const options = resolveOptions({ source: open.path, output: '', target, ...grid })
      planTarget(open, fitGroups(open, forFamily(open, options, {})))
    })
  const error = planned()
  if (error?.code !== 'PARE_E_GROUP_SIZE') return stepOf(step, error?.message)
  const { fitting } = error.facts as { fitting?: readonly number[] }
  const groupSize = fitting?.findLast((size) => size <= 128) ?? 'row'
  const still = planned(groupSize)
  return still ? stepOf(step, still.message) : { step, possible: true, flags: `--group-size ${groupSize}` }
}

const reasonOf = (step: () => void): string | undefined => errorOf(step)?.message

/** The error that stops it. */
function errorOf(step: () => void): PareError | undefined {
  try {
    step()
    return undefined
  } catch (error) {
    if (error instanceof PareError) return error
    throw error
  }
}

/** @throws FormatError for a weight of a type that Pare does not compute from. */
function checkTypes(open: OpenModel): void {
  const matrices = matricesOf(open)
  for (const info of open.weights.infos.values()) {
    const known =
      open.format === 'gguf' ? isBlockType(info.type) : !isIntegerType(info.type) && info.type !== 'C64'
    // Buffers beside the weights may be of whole numbers.
    if (known || isPositionIds(info.name)) continue
    if (roleOf(info, matrices) === 'vector' && open.format !== 'gguf') continue
    throw new FormatError(
      `${printable(info.name)}: Pare does not compute from ${printable(info.type)}; use a file of another type`,
      { code: 'PARE_E_ELEMENT_TYPE', facts: { tensor: info.name, type: info.type } },
    )
  }
}

/** @throws FormatError or SourceError where there is no tokenizer that Pare reads. */
function checkTokenizer(open: OpenModel & { gguf?: GgufArchive }): void {
  if (open.gguf) tokenizerJsonOfGguf(open.gguf.metadata)
  else loadVocabulary(open.path)
}
