import { describe, expect, test } from 'vitest'
import { gradientCheck, inputsOf } from '../tensor/autodiff/gradient_check.suite.ts'
import { expectNear, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { OptionError, ShapeError } from '../tensor/errors.ts'
import { concat, ones, type Tensor, tensor, valueAndGrad, zerosLike } from '../tensor/index.ts'
import { hiddenLosses, hiddenLossKinds } from './hidden_losses.ts'

const two = (...shape: number[]) => inputsOf(shape, shape) as [Tensor, Tensor]
const attended = () => tensor([1, 1, 0, 1, 0, 0], [2, 3], 'bool')

test('values are those worked by hand', () => {
  onNative(() => {
    const student = tensor([1, 2, 0, 0, 3, 4, 1, 0], [2, 2, 2], 'f64')
    const teacher = tensor([1, 0, 0, 2, 4, 3, 0, 1], [2, 2, 2], 'f64')
    const losses = (options: object) => valuesOf(hiddenLosses(student, teacher, options))
    // Places: (0 + 4)/2, (0 + 4)/2 and (1 + 1)/2, (1 + 1)/2.
    expect(losses({ kind: 'mse' })).toEqual([2, 1])
    // Mean square of the teacher: (1 + 4 + 25 + 1) / 8.
    const [first, second] = losses({ epsilon: 0 })
    expect(first).toBeCloseTo(2 / (31 / 8), 14)
    expect(second).toBeCloseTo(1 / (31 / 8), 14)
    expect(losses({})[0]).toBeCloseTo(2 / (31 / 8 + 1 / 128), 14)
    // 1 / sqrt 5, 0 (the student has no direction), 24 / 25, 0.
    const cosines = [1 / Math.sqrt(5), 0, 24 / 25, 0]
    const [one, other] = losses({ kind: 'cosine' })
    expect(one).toBeCloseTo(1 - (cosines[0]! + cosines[1]!) / 2, 14)
    expect(other).toBeCloseTo(1 - (cosines[2]! + cosines[3]!) / 2, 14)
  })
})
describe.each(hiddenLossKinds)('%s', (kind) => {
  test('gradients are those of differences, with and without padding', () => {
    onNative(() => {
      for (const mask of [undefined, attended()])
        gradientCheck((s, t) => hiddenLosses(s!, t!, { kind, attended: mask }), two(2, 3, 5), {
          constant: [1],
        })
      gradientCheck((s, t) => hiddenLosses(s!, t!, { kind }), two(3, 2, 1, 3), { constant: [1] })
      gradientCheck((s, t) => hiddenLosses(s!, t!, { kind }), two(3, 2), { constant: [1] })
    })
  })
  test('padding changes nothing, whatever stands there', () => {
    onNative(() => {
      const [student, teacher] = two(2, 3, 4)
      const longer = (x: Tensor) => concat([x, ones([2, 2, 4], 'f64').mul(Number.NaN)], 1)
      const mask = tensor([1, 1, 1, 0, 0, 1, 1, 1, 0, 0], [2, 5], 'bool')
      const found = valueAndGrad(
        ({ x }) => hiddenLosses(longer(x), longer(teacher), { kind, attended: mask }).sum(),
        { x: student },
      )
      const want = valueAndGrad(({ x }) => hiddenLosses(x, teacher, { kind }).sum(), { x: student })
      // The means are divided in another order.
      expectNear(found.value, [want.value.item()], { units: 16 })
      expectNear(found.gradients.x, valuesOf(want.gradients.x), { units: 16, scale: 1 })
    })
  })
  test('a student that is its teacher has loss and gradient 0', () => {
    onNative(() => {
      const [x] = two(2, 3, 4)
      const { value, gradients } = valueAndGrad(
        ({ x }) => hiddenLosses(x, x.alias(), { kind, attended: attended() }).sum(),
        { x },
      )
      // A cosine of 1 is rounded: to 4 roundings of 1 in the loss, of 1 / |x| in the gradient.
      const allowed = kind === 'cosine' ? 8 * 2 ** -53 : 0
      expect(Math.abs(value.item())).toBeLessThanOrEqual(allowed)
      for (const g of valuesOf(gradients.x)) expect(Math.abs(g)).toBeLessThanOrEqual(allowed)
    })
  })
})
test('the normalised loss of a student of zeros is m / (m + epsilon), and hardly changes with the scale', () => {
  onNative(() => {
    const [student, teacher] = two(2, 3, 4)
    const m = teacher.square().mean().item()
    const nothing = hiddenLosses(zerosLike(teacher), teacher).mean().item()
    expect(nothing).toBeCloseTo(m / (m + 2 ** -7), 13)
    const plain = hiddenLosses(student, teacher, { epsilon: 0 }).mean().item()
    for (const c of [4, 64]) {
      const scaled = hiddenLosses(student.mul(c), teacher.mul(c)).mean().item()
      expect(Math.abs(scaled - plain)).toBeLessThanOrEqual((plain * 2 ** -7) / (c * c * m))
    }
  })
})
test('numbers in bf16 are compared in f32', () => {
  onNative(() => {
    const [student, teacher] = two(2, 3, 4).map((x) => x.cast('bf16')) as [Tensor, Tensor]
    const found = hiddenLosses(student, teacher)
    expect(found.dtype).toBe('f32')
    expectNear(found, valuesOf(hiddenLosses(student.cast('f64'), teacher.cast('f64'))), { units: 16 })
  })
})
test('what cannot be is refused', () => {
  onNative(() => {
    const [s, t] = two(2, 3, 4)
    expect(() => hiddenLosses(s, t.slice(2, 0, 3))).toThrow(ShapeError)
    expect(() => hiddenLosses(s, t, { attended: tensor([1, 1], [2], 'bool') })).toThrow(/bool \[2, 3\]/)
    expect(() => hiddenLosses(s, t, { epsilon: -1 })).toThrow(OptionError)
    expect(() => hiddenLosses(s, t, { kind: 'l1' as 'mse' })).toThrow(/mse, normalised, cosine/)
  })
})
