/** Checks how tokens are to be drawn, once for each request. */
import { randomInt } from 'node:crypto'
import { OptionError, printable } from '../tensor/errors.ts'
import type { SamplingOptions } from './generation.ts'

/** Every option with its value. */
export type Sampling = Required<SamplingOptions>

/** From this bias down an id is forbidden. */
export const forbidden = -100

/**
 * @param vocabulary ids are below it
 * @throws OptionError with code PARE_E_SAMPLING for a value out of its range; `facts.option` names the option.
 * @example checkedSampling({ temperature: 0.7, topP: 0.9, seed: 1 }, 49_152)
 */
export function checkedSampling(options: SamplingOptions, vocabulary: number): Sampling {
  const {
    repetitionPenalty = 1,
    presencePenalty = 0,
    frequencyPenalty = 0,
    logitBias = new Map(),
    temperature = 1,
    topK = 0,
    topP = 1,
    minP = 0,
    seed = randomInt(2 ** 47),
  } = options
  need('repetitionPenalty', repetitionPenalty, repetitionPenalty >= 0.01, 'a number from 0.01 on')
  need('presencePenalty', presencePenalty, within(presencePenalty, -2, 2), 'a number from -2 to 2')
  need('frequencyPenalty', frequencyPenalty, within(frequencyPenalty, -2, 2), 'a number from -2 to 2')
  need('temperature', temperature, within(temperature, 0, 100), 'a number from 0 to 100')
  need('topK', topK, Number.isSafeInteger(topK) && topK >= 0, 'a whole number from 0 on')
  need('topP', topP, topP > 0 && topP <= 1, 'a number above 0 and at most 1')
  need('minP', minP, within(minP, 0, 1), 'a number from 0 to 1')
  need('seed', seed, Number.isSafeInteger(seed), 'a whole number between -2^53 and 2^53')
  need('logitBias', logitBias, logitBias instanceof Map, 'a Map from ids to numbers')
  for (const [id, bias] of logitBias) {
    const known = Number.isInteger(id) && id >= 0 && id < vocabulary
    need('logitBias', id, known, `ids from 0 to ${vocabulary - 1}`)
    need('logitBias', bias, within(bias, forbidden, -forbidden), `biases from ${forbidden} to ${-forbidden}`)
  }
  return {
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    logitBias: new Map(logitBias),
    temperature,
    topK,
    topP,
    minP,
    seed,
  }
}

const within = (value: unknown, least: number, most: number): boolean =>
  typeof value === 'number' && value >= least && value <= most

function need(option: keyof Sampling, value: unknown, fits: boolean, needed: string): void {
  if (fits && (option === 'logitBias' || Number.isFinite(value))) return
  throw new OptionError(`${option}: needs ${needed}, got ${printable(String(value))}`, {
    code: 'PARE_E_SAMPLING',
    facts: { option },
  })
}
