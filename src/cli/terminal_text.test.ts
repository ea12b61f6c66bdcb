import { expect, test } from 'vitest'
import { ggufFileName } from '../run/target_plan.ts'
import { bytesText, weightsText } from './terminal.ts'

test('sizes have the unit that shows them, and no small one is 0.0', () => {
  expect([850, 1000, 84_200, 1_000_000, 61_234_567].map(bytesText)).toEqual([
    '850 B',
    '1.0 kB',
    '84.2 kB',
    '1.0 MB',
    '61.2 MB',
  ])
  expect([84_200, 134_515_008].map(weightsText)).toEqual(['84.2 thousand weights', '134.5 M weights'])
})
test.each([
  ['pare-4m-Q4_K', 'Q4_K', 'pare-4m-Q4_K'],
  ['SmolLM2-135M-Instruct.Q4_1', 'Q3_K', 'SmolLM2-135M-Instruct-Q3_K'],
  ['a b ü 模型', 'Q4_K', 'a-b-ü-模型-Q4_K'],
  ['model-iq4_nl', 'Q8_0', 'model-Q8_0'],
  ['--x  -  y--', 'F16', 'x-y-F16'],
  ['///', 'F16', 'model-F16'],
])('the GGUF file of %s in %s is named %s', (name, scheme, file) => {
  expect(ggufFileName(name, scheme)).toBe(file)
})
