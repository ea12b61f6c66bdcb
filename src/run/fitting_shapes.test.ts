import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { resolveOptions } from './compress_options.ts'
import { checkFits } from './fitting_shapes.ts'
import type { WeightStep } from './weight_step.ts'

const check = (step: WeightStep, shape: [number, number]) => () =>
  checkFits('q', shape, resolveOptions({ source: 'm', output: 'o', target: 'pare', steps: [step] }).steps[0]!)

test.each<[WeightStep, [number, number], RegExp]>([
  [
    { method: 'wanda', pattern: '2:4' },
    [8, 6],
    /wanda takes 4 columns together, as --pattern says, and q has 6/,
  ],
  [{ method: 'spqr' }, [16, 24], /spqr takes 16 columns together, as --group-size says, and q has 24/],
  [{ method: 'spqr' }, [24, 32], /spqr takes 16 rows together, as --tile-rows says, and q has 24/],
  [{ method: 'aqlm', tileColumns: 7 }, [8, 8], /aqlm takes 7 columns together, as --tile-columns says/],
  [{ method: 'aqlm', tileRows: 3 }, [8, 8], /aqlm takes 3 rows together, as --tile-rows says/],
  [{ method: 'quip' }, [2, 2 ** 20], /quip turns at most \d+ rows and columns/],
])('%j on %j is refused by the name of the weight', (step, shape, message) => {
  expect(check(step, shape)).toThrow(OptionError)
  expect(check(step, shape)).toThrow(message)
})
test.each<[WeightStep, [number, number]]>([
  [{ method: 'wanda', pattern: '2:4' }, [3, 8]],
  [{ method: 'spqr' }, [16, 32]],
  [{ method: 'spqr', secondOrder: false }, [24, 32]],
  [{ method: 'aqlm' }, [7, 16]],
  [{ method: 'quip' }, [7, 13]],
  [{ method: 'gptq', bits: 3, groupSize: 20 }, [5, 64]],
])('%j takes %j', (step, shape) => {
  expect(check(step, shape)).not.toThrow()
})
