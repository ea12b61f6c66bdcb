/** What Pare can do with a model, step by step, from headers alone. Works without the native core. */
import type { GgufArchive } from '../formats/gguf/container.ts'
import { isIntegerType } from '../formats/safetensors/decode.ts'
import { tokenizerJsonOfGguf } from '../formats/tokenizer/gguf_tokenizer.ts'
import { loadVocabulary } from '../formats/tokenizer/vocabulary.ts'
import { languageModel, type OpenModel, textEncoder } from '../models/open_model.ts'
import { matricesOf } from '../models/write/target.ts'
import { roleOf } from '../models/write/tensor_plan.ts'
import { isBlockType } from '../nn/block_types.ts'
import { FormatError, PareError, printable } from '../tensor/errors.ts'
import { resolveOptions, type TargetName, targets } from './compress_options.ts'
import { planTarget } from './target_plan.ts'

export type SupportedStep = 'compress' | 'evaluate' | 'generate' | 'embed' | `export ${TargetName}`

export interface Support {
  step: SupportedStep
  possible: boolean
  /** Why it is not. */
  reason?: string
}

const steps: readonly SupportedStep[] = [
  'compress',
  'evaluate',
  'generate',
  'embed',
  ...targets.map((target) => `export ${target}` as const),
]

/** A model that cannot be opened at all. */
export const unsupported = (reason: string): Support[] =>
  steps.map((step) => ({ step, possible: false, reason }))

/** Every step for an open model; what only its data or tokenizer rules can tell may still stop one. */
export function supportOf(open: OpenModel): Support[] {
  const reasons = new Map<SupportedStep, string | undefined>()
  for (const target of targets)
    reasons.set(
      `export ${target}`,
      reasonOf(() => {
        const source = languageModel(open)
        checkTypes(source)
        planTarget(source, resolveOptions({ source: open.path, output: '', target }))
      }),
    )
  const first = targets.map((target) => reasons.get(`export ${target}`))
  // One target is enough.
  reasons.set('compress', first.includes(undefined) ? undefined : first[0])
  const onText = reasonOf(() => {
    checkTypes(languageModel(open))
    checkTokenizer(open)
  })
  reasons.set('evaluate', onText)
  reasons.set('generate', onText)
  reasons.set(
    'embed',
    reasonOf(() => {
      textEncoder(open)
      checkTokenizer(open)
    }),
  )
  return steps.map((step) => {
    const reason = reasons.get(step)
    return reason === undefined ? { step, possible: true } : { step, possible: false, reason }
  })
}

/** The message of the error that stops it. */
function reasonOf(step: () => void): string | undefined {
  try {
    step()
    return undefined
  } catch (error) {
    if (error instanceof PareError) return error.message
    throw error
  }
}

/** @throws FormatError for a weight of a type that Pare does not compute from. */
function checkTypes(open: OpenModel & { family: 'llama' }): void {
  const matrices = matricesOf(open)
  for (const info of open.weights.infos.values()) {
    const known =
      open.format === 'gguf' ? isBlockType(info.type) : !isIntegerType(info.type) && info.type !== 'C64'
    // Buffers beside the weights may be of whole numbers.
    if (known || (roleOf(info, matrices) === 'vector' && open.format !== 'gguf')) continue
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
