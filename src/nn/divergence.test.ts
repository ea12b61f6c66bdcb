import { describe, expect, test } from 'vitest'
import { gradientCheck, inputsOf } from '../tensor/autodiff/gradient_check.suite.ts'
import { exactTensor, expectNear, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { OptionError, ShapeError } from '../tensor/errors.ts'
import { randomStream, type Tensor, tensor, valueAndGrad, vjp } from '../tensor/index.ts'
import { type DivergenceKind, type DivergenceOptions, divergence } from './divergence.ts'

const kinds: readonly DivergenceKind[] = ['forward', 'reverse']
const two = (...shape: number[]) => inputsOf(shape, shape) as [Tensor, Tensor]
/** The definition, in single operations. */
function slow(student: Tensor, teacher: Tensor, kind: DivergenceKind, temperature: number): Tensor {
  const [q, p] = [student, teacher].map((z) => z.div(temperature).softmax())
  const [a, b] = kind === 'forward' ? [p!, q!] : [q!, p!]
  return a
    .mul(a.div(b).log())
    .sum(-1)
    .mul(temperature ** 2)
}
const gradientOf = (student: Tensor, teacher: Tensor, options: DivergenceOptions) =>
  valueAndGrad(({ student }) => divergence(student, teacher, options).sum(), { student }).gradients.student

test('values and gradients are those worked by hand', () => {
  onNative(() => {
    // p = 1/4, 3/4 and q = 1/2, 1/2
    const [student, teacher] = [tensor([0, 0], [1, 2], 'f64'), tensor([0, Math.log(3)], [1, 2], 'f64')]
    const forward = 0.25 * Math.log(0.5) + 0.75 * Math.log(1.5)
    const reverse = 0.5 * Math.log(2) + 0.5 * Math.log(2 / 3)
    expect(divergence(student, teacher).item()).toBeCloseTo(forward, 14)
    expect(divergence(student, teacher, { kind: 'reverse' }).item()).toBeCloseTo(reverse, 14)
    expectNear(gradientOf(student, teacher, {}), [0.25, -0.25], { units: 4 })
    // q (log q - log p - D) with log q - log p = ln 2, ln 2/3
    const slopes = [Math.log(2) - reverse, Math.log(2 / 3) - reverse].map((x) => 0.5 * x)
    expectNear(gradientOf(student, teacher, { kind: 'reverse' }), slopes, { units: 8 })
    // Twice the logits at twice the temperature are the same predictions.
    const warm = divergence(student, teacher.mul(2), { temperature: 2 })
    expect(warm.item()).toBeCloseTo(4 * forward, 13)
    expectNear(gradientOf(student, teacher.mul(2), { temperature: 2 }), [0.5, -0.5], { units: 8 })
  })
})
describe.each(kinds)('%s', (kind) => {
  test('it is the composed form, in value and gradient', () => {
    onNative(() => {
      const [student, teacher] = two(2, 3, 5)
      for (const temperature of [0.7, 1, 3]) {
        const found = vjp(([x]) => divergence(x, teacher, { kind, temperature }), [student])
        const want = vjp(([x]) => slow(x, teacher, kind, temperature), [student])
        const weights = exactTensor([2, 3], 'f64', 3)
        const [[own], [other]] = [
          found.pull([[found.value, weights]]),
          want.pull([[want.value, weights]]),
        ] as const
        // A handful of roundings of numbers of the size of the logarithms, times T^2.
        const scale = 8 * temperature ** 2
        expectNear(found.value, valuesOf(want.value), { units: 16, scale })
        expectNear(own, valuesOf(other), { units: 32, scale })
      }
    })
  })
  test('gradients are those of differences, with few classes, ignored rows and a temperature', () => {
    onNative(() => {
      const counted = tensor([1, 0, 1, 1, 1, 0], [2, 3], 'bool')
      for (const options of [{}, { topK: 3 }, { counted }, { temperature: 2.5, topK: 2, counted }])
        gradientCheck((x, t) => divergence(x!, t!, { kind, ...options }), two(2, 3, 7), { constant: [1] })
    })
  })
  test('a student that is its teacher has loss 0, and no gradient but rounding', () => {
    onNative(() => {
      const [x] = two(3, 11)
      for (const dtype of ['f64', 'f32', 'bf16'] as const) {
        const own = x.cast(dtype)
        const { value, gradients } = valueAndGrad(
          ({ own }) => divergence(own, own.alias(), { kind, temperature: 2 }).sum(),
          { own },
        )
        expect(value.item()).toBe(0)
        expect(Math.max(...valuesOf(gradients.own).map(Math.abs))).toBe(0)
      }
    })
  })
  test('for large T it is the squared distance of centred logits (Hinton et al. 2015, section 2.1)', () => {
    onNative(() => {
      const [student, teacher] = two(4, 6)
      const most = Math.max(...[student, teacher].flatMap((z) => valuesOf(z).map(Math.abs)))
      const distance = student.sub(teacher)
      const want = valuesOf(
        distance
          .sub(distance.mean(-1, { keepDims: true }))
          .square()
          .mean(-1)
          .mul(0.5),
      )
      for (const temperature of [20, 200, 2000]) {
        // T^2 KL is half the variance of the distance under a softmax between both, whose probabilities differ from 1 / C
        // by a factor of exp(2 max|z| / T) at most. Rounding adds T^2 of 2^-53 of logarithms near 2.
        const bound = Math.expm1((2 * most) / temperature)
        for (const [row, found] of valuesOf(divergence(student, teacher, { kind, temperature })).entries())
          expect(Math.abs(found - want[row]!)).toBeLessThanOrEqual(
            bound * want[row]! + 32 * temperature ** 2 * 2 ** -53,
          )
      }
    })
  })
  test('the likeliest classes of the teacher are normalised anew for both', () => {
    onNative(() => {
      const student = tensor([5, 1, -2, 0.5], [1, 4], 'f64')
      const teacher = tensor([-1, 2, 0.25, 3], [1, 4], 'f64')
      const [few, others] = [tensor([0.5, 1], [1, 2], 'f64'), tensor([3, 2], [1, 2], 'f64')]
      expect(divergence(student, teacher, { kind, topK: 2 }).item()).toBeCloseTo(
        divergence(few, others, { kind }).item(),
        14,
      )
      expect(valuesOf(gradientOf(student, teacher, { kind, topK: 2 }))[0]).toBe(0)
      expect(divergence(student, teacher, { kind, topK: 1 }).item()).toBe(0)
      const all = divergence(student, teacher, { kind })
      for (const topK of [4, 9])
        expect(divergence(student, teacher, { kind, topK }).bytes()).toEqual(all.bytes())
    })
  })
  test('rows that do not count have loss and gradient 0, even where nothing there is a number', () => {
    onNative(() => {
      const [student, teacher] = two(3, 4)
      const counted = tensor([1, 0, 1], [3], 'bool')
      const broken = (x: Tensor) =>
        tensor(
          valuesOf(x).map((v, i) => (i >= 4 && i < 8 ? Number.NaN : v)),
          [3, 4],
          'f64',
        )
      const options = { kind, counted }
      const found = divergence(broken(student), broken(teacher), options)
      const want = valuesOf(divergence(student, teacher, { kind }))
      expect(valuesOf(found)).toEqual([want[0], 0, want[2]])
      const gradient = valuesOf(gradientOf(broken(student), broken(teacher), options))
      expect(gradient).toEqual(
        valuesOf(gradientOf(student, teacher, { kind })).map((g, i) => (i >= 4 && i < 8 ? 0 : g)),
      )
    })
  })
  test('a class that one holds impossible costs nothing where the other gives it no weight', () => {
    onNative(() => {
      const z = tensor([1, 2, -Infinity], [1, 3], 'f64')
      expect(divergence(z, z.alias(), { kind }).item()).toBe(0)
      expect(valuesOf(gradientOf(z, z.alias(), { kind }))).toEqual([0, 0, 0])
    })
  })
})
test('rows come out the same whether they are run in one chunk or in two', () => {
  onNative(() => {
    // 2^21 numbers are one chunk.
    const stream = randomStream(1, 'logits')
    const [student, teacher] = [stream.normal([3, 2 ** 20]), stream.normal([3, 2 ** 20])]
    const run = (first: number, end: number) => {
      const [x, t] = [student.slice(0, first, end), teacher.slice(0, first, end)]
      const { value, gradients } = valueAndGrad(
        ([x]) => ({ losses: divergence(x, t), loss: divergence(x, t).sum() }),
        [x],
      )
      return [value.losses, gradients[0]].map((y) => Buffer.from(y.bytes()))
    }
    const [whole, first, last] = [run(0, 3), run(0, 2), run(2, 3)]
    for (const [i, bytes] of whole.entries())
      expect(bytes.equals(Buffer.concat([first[i]!, last[i]!]))).toBe(true)
  })
})
test('one number a logit is kept for the way back', () => {
  onNative(() => {
    const { savedBytes } = valueAndGrad(
      ([x]) => divergence(x, exactTensor([6, 100], 'f32', 2)).sum(),
      [exactTensor([6, 100])],
    )
    expect(savedBytes).toBe(4 * 600)
  })
})
test('what cannot be is refused', () => {
  onNative(() => {
    const [x, t] = two(2, 3)
    expect(() => divergence(x, t.slice(1, 0, 2))).toThrow(ShapeError)
    expect(() => divergence(x, t, { counted: tensor([1, 0, 1], [3], 'bool') })).toThrow(/bool \[2\]/)
    expect(() => divergence(x, t, { temperature: 0 })).toThrow(OptionError)
    expect(() => divergence(x, t, { topK: 1.5 })).toThrow(/topK/)
    expect(() => divergence(x, t, { kind: 'sideways' as 'forward' })).toThrow(/forward or reverse/)
  })
})
