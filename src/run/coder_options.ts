/** What the factories of coders are told of the options of a step. */
import type { AqlmOptions } from '../quantize/aqlm.ts'
import type { BaqOptions } from '../quantize/baq.ts'
import type { QuipOptions } from '../quantize/quip.ts'
import type { SpqrOptions } from '../quantize/spqr.ts'
import { OptionError } from '../tensor/errors.ts'
import type { FactoryOptions } from './step_method.ts'

export function spqrOptions(options: FactoryOptions): SpqrOptions {
  const { bits, groupSize, scaleBits, zeroBits, tileRows, secondOrder, outlierThreshold } = options
  const { simplifiedOutliers, roundZero, actOrder, damping, blockSize, onSingular } = options
  if (groupSize === 'row')
    throw new OptionError('--group-size: spqr needs columns that share a scale, got row; 16 is usual')
  return given({
    ...{ bits, groupSize, scaleBits, zeroBits, tileRows, secondOrder, outlierThreshold },
    ...{ simplifiedOutliers, roundZero, actOrder, damping, blockSize, onSingular },
  })
}

export function baqOptions(options: FactoryOptions): BaqOptions {
  const { bits, losses, exponent, centred, integerBits, actOrder, damping, onSingular } = options
  return given({ bits, losses, exponent, centred, integerBits, actOrder, damping, onSingular })
}

export function quipOptions(options: FactoryOptions): QuipOptions {
  const { bits, rho, rounding, greedyPasses, damping, onSingular, seed } = options
  if (bits !== undefined && !(Number.isInteger(bits) && bits <= 8))
    throw new OptionError(`--bits: quip stores codes of 1 to 8 whole bits, got ${bits}; 2 is usual`)
  return given({ bits, rho, rounding, greedyPasses, damping, onSingular, seed })
}

export function aqlmOptions(options: FactoryOptions): AqlmOptions {
  const { books, bookBits, tileColumns, tileRows, beam, rounds, tolerance } = options
  const { adamSteps, learningRate, kMeansRounds, seed } = options
  return given({
    ...{ books, bookBits, tileColumns, tileRows, beam, rounds, tolerance },
    ...{ adamSteps, learningRate, kMeansRounds, seed },
  })
}

/** Without what is undefined, which factories do not take for left out. */
export function given<Fields extends object>(fields: Fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Name in keyof Fields]?: Exclude<Fields[Name], undefined>
  }
}
