/** Tokens a second before and after a compression, and what can be said of them. */
import { fixed, isNumber } from './report_page/numbers.ts'
import { shortened } from './visible_text.ts'

/** How the weights of the linear layers lie in memory: as they are stored, as floats, or `mixed`. */
export type WeightForm = 'packed int8' | 'decoded to floats' | 'f32' | 'mixed'

export interface ModelSpeed {
  /** Tokens a second while the prompt is read; the best of the rounds. */
  prefill: number
  /** Tokens a second while a text is written, one after another; the best of the rounds. */
  decode: number
  /** The same of the slowest round: how far readings of this moment are apart. */
  least: { prefill: number; decode: number }
  form: WeightForm
  /** Share of the linear weights that products read in their codes, 0 to 1. */
  packed: number
  /** Share of the linear weights of which products read what lives and nothing else; absent where none are. */
  masked?: number
  /** The head is read in its codes too. */
  headPacked: boolean
  /** Bytes of weights that are read for one token, as they lie in memory: all matrices, norms, and one row of the embedding. */
  weightBytes: number
  /** Bytes of keys and values that are read for each token before it. */
  contextBytes: number
}

export interface SpeedReport {
  /** Processor, cores, memory, instruction set, versions and threads. */
  machine: string
  /** Tokens that were read, and tokens that were written after them at most. */
  prompt: number
  written: number
  /** Texts of each model, in turns. */
  rounds: number
  /** A step set weights to 0. */
  pruned?: true
  source: ModelSpeed
  result: ModelSpeed
}

/** How it was measured, in two sentences. */
export const methodText = ({ machine, prompt, written, rounds }: SpeedReport): string =>
  `The best of ${fixed(rounds, 0)} texts of each model, with the least and the most, as pare chat --packed int8 writes them: ${fixed(prompt, 0)} tokens are read and up to ${fixed(written, 0)} written, in turns. On ${shortened(machine, 300)}: other machines, programs and moments have other rates.`

/** Below this, a ratio of rates is not called a gain. */
export const leastGain = 1.05

/** `packed int8, head decoded to floats` */
export function formText({ form, packed, headPacked }: ModelSpeed): string {
  if (form === 'mixed') return `${shareText(packed)} packed int8, others decoded to floats`
  if (form === 'packed int8') return headPacked ? form : `${form}, head decoded to floats`
  return headPacked ? `${form}, head packed int8` : form
}

/** Down, so that 100% is all of them. */
const shareText = (share: number): string => (isNumber(share) ? `${Math.floor(100 * share)}%` : 'some')

/** `2.05`, or nothing where one of them is no rate. */
export const ratioOf = (before: number, after: number): number | undefined =>
  isNumber(before) && isNumber(after) && before > 0 ? after / before : undefined

/** What brings no speed on this device: a sentence for each finding, none where texts are written faster. */
export function speedRemarks({ source, result, pruned }: SpeedReport): string[] {
  const remarks: string[] = []
  const zeros = pruned ? ', its zeros like other numbers' : ''
  if (result.form === 'decoded to floats')
    remarks.push(`No speed from this on this device: its weights are decoded to floats in memory${zeros}.`)
  else if (result.form === 'f32')
    remarks.push(`No speed from this on this device: its weights are f32 in memory${zeros}.`)
  else {
    if (result.form === 'mixed')
      remarks.push(
        `No speed on this device from ${shareText(1 - result.packed)} of the linear weights, which are decoded to floats in memory.`,
      )
    if (pruned && !result.masked)
      remarks.push('No speed from zeros on this device: products read them like other weights.')
  }
  const ratio = ratioOf(source.decode, result.decode)
  if (ratio !== undefined && ratio < leastGain)
    remarks.push(
      `Writing did not become faster: ${rateText(source.decode)} tokens/s before, ${rateText(result.decode)} after.`,
    )
  return remarks
}

/** `27.8`, from 100 on without digits behind the point; a dash for what is no number. */
export const rateText = (rate: number | undefined): string =>
  isNumber(rate) ? rate.toFixed(rate < 99.95 ? 1 : 0) : '–'
