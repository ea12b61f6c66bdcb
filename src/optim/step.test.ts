import { expect, test } from 'vitest'
import { Parameters } from '../nn/parameters.ts'
import { NumericalError } from '../tensor/errors.ts'
import { scope, tensor } from '../tensor/index.ts'
import { drawn, Faults, keptBuffers, meanGradients } from './step.ts'

test('batches are drawn until there are enough or the data ends, and not one more', () => {
  let next = 0
  const loader = { next: () => (next < 3 ? next++ : undefined) }
  expect(drawn(loader, 2)).toEqual([0, 1])
  expect(drawn(loader, 2)).toEqual([2])
  expect(drawn(loader, 2)).toEqual([])
})
test('by hand: loss and gradients of w x for x of 1, 2 and 6 are their means', () => {
  const parameters = new Parameters()
  scope(() => {
    const w = parameters.add('w', tensor([2], [], 'f64'))
    for (const [batches, mean] of [
      [[6], 6],
      [[1, 2, 6], 3],
    ] as const) {
      const { loss, gradients } = meanGradients(parameters, batches, (x) => w.mul(x))
      expect(loss).toBeCloseTo(2 * mean, 12)
      expect(gradients.get('w')!.item()).toBeCloseTo(mean, 12)
    }
  })
  parameters.dispose()
})
test('small batches in bf16 are summed in f32: 256 and eight times 1/4 lose nothing', () => {
  const parameters = new Parameters()
  scope(() => {
    const w = parameters.add('w', tensor([1], [], 'bf16'))
    const { gradients } = meanGradients(parameters, [256, ...Array(7).fill(0.25)], (x: number) => w.mul(x))
    expect(gradients.get('w')!.dtype).toBe('f32')
    expect(gradients.get('w')!.item()).toBe((256 + 7 * 0.25) / 8)
  })
  parameters.dispose()
})
test('faults are left out up to the most in a row, each put back, and a sound step begins the row anew', () => {
  const faults = new Faults(1)
  const sound = { norm: 1, notFinite: [] }
  const broken = { norm: Number.NaN, notFinite: ['w'] }
  let restored = 0
  const restore = () => void restored++
  expect(faults.found(1, 1, sound, restore)).toBeUndefined()
  expect(faults.found(2, Number.NaN, sound, restore)).toBeInstanceOf(NumericalError)
  expect(faults.found(3, 1, sound, restore)).toBeUndefined()
  expect(faults.found(4, 1, broken, restore)?.message).toMatch(/w/)
  expect(restored).toBe(2)
  expect(() => faults.found(5, 1, broken, restore)).toThrow(NumericalError)
  expect([faults.inRow, restored]).toEqual([0, 3])
})
test('buffers are put back bit for bit, and parameters are left alone', () => {
  const parameters = new Parameters()
  scope(() => {
    parameters.add('w', tensor([1], [1]))
    parameters.addBuffer('mean', tensor([0.25, -0], [2]))
    parameters.addBuffer('count', tensor([7], [1], 'u32'))
    const restore = keptBuffers(parameters)
    parameters.assign('w', tensor([2], [1]))
    parameters.assign('mean', tensor([Number.NaN, Number.POSITIVE_INFINITY], [2]))
    parameters.assign('count', tensor([8], [1], 'u32'))
    restore()
    const values = (path: string) => [...parameters.get(path).state.tensor().toArray()]
    expect(values('mean')).toEqual([0.25, -0])
    expect([values('count'), values('w')]).toEqual([[7], [2]])
  })
  parameters.dispose()
})
