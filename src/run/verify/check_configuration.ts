/** Whether two models compute the same function of their weights: shapes, norms, positions. */
import type { BertConfig } from '../../models/bert/config.ts'
import type { LlamaConfig } from '../../models/llama/config.ts'
import { rotaryFrequencies } from '../../models/llama/rotary_tables.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { printable } from '../../tensor/errors.ts'
import { type Check, checkOf } from './verification.ts'

/** Formats store these numbers as f32. */
const SAME = 1e-6

export function checkConfiguration(result: OpenModel, source: OpenModel): Check {
  if (result.family !== source.family)
    return checkOf(
      'configuration',
      [`is a ${result.family}, the source is a ${source.family}`],
      'another family of models',
    )
  const faults =
    result.family === 'llama'
      ? llamaFaults(result.model.config, (source as typeof result).model.config)
      : bertFaults(result.model.config, (source as typeof result).model.config)
  return checkOf(
    'configuration',
    faults,
    faults.length === 0
      ? 'shapes, norms and positions are those of the source'
      : 'the models differ in what they compute',
  )
}

/**
 * Names of architectures and whether the head is stored twice may differ: what is computed does not. A window of
 * attention may be lost in a format that has none, which the plan tells; logits of short texts do not depend on it.
 */
function llamaFaults(own: LlamaConfig, source: LlamaConfig): string[] {
  const faults = fieldFaults(own, source, [
    'hidden',
    'headSize',
    'vocabulary',
    'context',
    'normEpsilon',
    'attentionBias',
  ])
  const layer = firstLayer(own.layers, source.layers)
  if (layer !== undefined) faults.push(layer)
  else if (own.headSize === source.headSize) {
    const [mine, theirs] = [rotaryFrequencies(own), rotaryFrequencies(source)]
    const at = mine.findIndex((frequency, i) => !isSame(frequency, theirs[i]!))
    if (at >= 0) faults.push(`angle ${at} of the positions is ${mine[at]}, of the source ${theirs[at]}`)
  }
  return faults
}

function bertFaults(own: BertConfig, source: BertConfig): string[] {
  const faults = fieldFaults(own, source, [
    'hidden',
    'headSize',
    'vocabulary',
    'context',
    'typeVocabulary',
    'normEpsilon',
    'activation',
  ])
  const layer = firstLayer(own.layers, source.layers)
  return layer === undefined ? faults : [...faults, layer]
}

function fieldFaults<Config extends object>(
  own: Config,
  source: Config,
  names: readonly (keyof Config & string)[],
) {
  return names.flatMap((name) =>
    isSame(own[name], source[name])
      ? []
      : [`${name} is ${printable(String(own[name]))}, of the source ${printable(String(source[name]))}`],
  )
}

function firstLayer(own: readonly object[], source: readonly object[]): string | undefined {
  if (own.length !== source.length) return `has ${own.length} layers, the source ${source.length}`
  const at = own.findIndex((layer, i) =>
    Object.entries(source[i]!).some(([name, value]) => (layer as Record<string, unknown>)[name] !== value),
  )
  return at < 0
    ? undefined
    : `layer ${at} is ${JSON.stringify(own[at])}, of the source ${JSON.stringify(source[at])}`
}

function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'number' || typeof b !== 'number') return a === b
  return Math.abs(a - b) <= SAME * Math.max(Math.abs(a), Math.abs(b))
}
