/** What the tape promises beside the gradients of single operations. */
import { expect } from 'vitest'
import { type Claim, exactTensor, valuesOf } from '../contract/claims.suite.ts'
import {
  checkpoint,
  customGradient,
  Gradients,
  isRecomputing,
  linear,
  randomStream,
  State,
  scope,
  stopGradient,
  svd,
  type Tensor,
  tensor,
  valueAndGrad,
  vjp,
} from '../index.ts'
import { gradientCheck, inputsOf } from './gradient_check.suite.ts'

const two = (): [Tensor, Tensor] => [exactTensor([3, 4], 'f64'), exactTensor([4, 2], 'f64', 2)]

export function tapeClaims(claim: Claim): void {
  claim('gradients come back in the arrangement of the parameters', () => {
    const [a, b] = two()
    const loss = (a: Tensor, b: Tensor) => a.matmul(b).square().sum()
    const list = valueAndGrad(([a, b]) => loss(a, b), [a, b]).gradients
    const record = valueAndGrad(({ a, b }) => loss(a, b), { a, b }).gradients
    const map = valueAndGrad(
      (all) => loss(all.get('x.a')!, all.get('x.b')!),
      new Map([
        ['x.a', a],
        ['x.b', b],
      ]),
    ).gradients
    for (const [i, [name, path]] of (
      [
        ['a', 'x.a'],
        ['b', 'x.b'],
      ] as const
    ).entries()) {
      expect(record[name].bytes()).toEqual(list[i]!.bytes())
      expect(map.get(path)!.bytes()).toEqual(list[i]!.bytes())
    }
  })
  claim('a parameter that the loss does not read gets zeros', () => {
    const [a, b] = two()
    expect(valuesOf(valueAndGrad(([a]) => a.sum(), [a, b]).gradients[1]!)).toEqual(new Array(8).fill(0))
  })
  claim('what else a function returns comes back beside the loss', () => {
    const [a] = two()
    const { value } = valueAndGrad(([a]) => ({ loss: a.sum(), rows: a.sum(1), count: 3 }), [a])
    expect([value.count, value.rows.shape]).toEqual([3, [3]])
  })
  claim('the gradient of a weight is row-major, also where the product took it transposed', () => {
    const [x, w] = [exactTensor([5, 3], 'f32'), exactTensor([4, 3], 'f32', 2)]
    const { gradients } = valueAndGrad(([w]) => linear(x, w).square().sum(), [w])
    expect(gradients[0].isContiguous).toBe(true)
    const other = valueAndGrad(([w]) => x.matmul(w).square().sum(), [w.transpose().contiguous()])
    expect(other.gradients[0].transpose().bytes()).toEqual(gradients[0].bytes())
  })
  claim('a loss of several elements is refused', () => {
    const [a] = two()
    expect(() => valueAndGrad(([a]) => a.sum(0), [a])).toThrow(/one element.*\[4\]/)
  })
  claim('a value that is read twice gets the sum of both gradients', () => {
    const [x] = inputsOf([5]) as [Tensor]
    gradientCheck(
      (x) => {
        const y = x!.exp()
        return y.mul(x!).add(y.square())
      },
      [x],
    )
  })
  claim('a stopped gradient does not flow, the value does', () => {
    const x = tensor([2, 3], [2], 'f64')
    const { value, gradients } = valueAndGrad(([x]) => stopGradient(x).mul(x).sum(), [x])
    expect([value.item(), valuesOf(gradients[0])]).toEqual([13, [2, 3]])
  })
  claim('an operation without a gradient is an error where one arrives, and only there', () => {
    const x = exactTensor([3, 3], 'f64')
    expect(() => valueAndGrad(([x]) => svd(x).s.sum(), [x])).toThrow(/svd: has no gradient/)
    expect(
      valuesOf(valueAndGrad(([x]) => x.sum().add(stopGradient(svd(x).s.sum())), [x]).gradients[0]),
    ).toEqual(new Array(9).fill(1))
  })
  claim('a state that changes in place between the ways is named', () => {
    const weight = new State('block.0/up', [2], 'f64')
    weight.setRows(0, tensor([2, 3], [2], 'f64'))
    const x = tensor([5, 7], [2], 'f64')
    const { value, pull } = vjp(() => weight.tensor().mul(x).sum(), [weight.tensor(), x])
    weight.setRows(0, tensor([9], [1], 'f64'))
    expect(() => pull([[value, tensor([1], [], 'f64')]])).toThrow(/mul: block\.0\/up was changed in place/)
    const again = vjp(() => weight.tensor().transpose(0, 0).mul(x).sum(), [weight.tensor()])
    // Only x was kept, so that the weight is free to change.
    weight.setRows(0, tensor([4], [1], 'f64'))
    expect(valuesOf(again.pull([[again.value, tensor([1], [], 'f64')]])[0])).toEqual([5, 7])
    weight.dispose()
  })
  claim('the bytes that are kept are counted, a buffer once, parameters never', () => {
    const [a, b] = two()
    const bytesOf = (f: (a: Tensor, b: Tensor) => Tensor) =>
      valueAndGrad(([a, b]) => f(a, b), [a, b]).savedBytes
    // A sum keeps nothing, a product of parameters only them.
    expect(bytesOf((a) => a.sum())).toBe(0)
    expect(bytesOf((a, b) => a.matmul(b).sum())).toBe(0)
    // exp keeps what it gives, [3, 4] in f64; the square keeps the same buffer.
    expect(bytesOf((a) => a.exp().sum())).toBe(96)
    expect(bytesOf((a) => a.exp().square().sum())).toBe(96)
    expect(bytesOf((a) => a.exp().transpose().square().sum())).toBe(96)
    expect(bytesOf((a, b) => a.exp().matmul(b.exp()).sum())).toBe(96 + 64)
  })
  claim('going back frees all that was kept, also after an error', () => {
    const [a, b] = two()
    const live = () => a.kernels.memory().tensors
    const before = live()
    scope(() => {
      valueAndGrad(([a, b]) => a.exp().matmul(b.tanh()).square().sum(), [a, b])
    })
    expect(live()).toBe(before)
    expect(() =>
      valueAndGrad(
        ([a]) => {
          a.exp().square()
          throw new RangeError('stop')
        },
        [a],
      ),
    ).toThrow('stop')
    expect(live()).toBe(before)
    scope(() => vjp(([a]) => a.exp().square(), [a]).dispose())
    expect(live()).toBe(before)
  })
  claim('vjp takes gradients of several outputs', () => {
    const x = tensor([1, 2, 3], [3], 'f64')
    const { value, pull } = vjp(([x]) => ({ double: x.mul(2), triple: x.mul(3) }), [x])
    const [dx] = pull([
      [value.double, tensor([1, 0, 1], [3], 'f64')],
      [value.triple, tensor([0, 10, 10], [3], 'f64')],
    ])
    expect(valuesOf(dx)).toEqual([2, 30, 32])
    const other = vjp(([x]) => x.mul(2), [x])
    expect(() => other.pull([[other.value, tensor([1], [1], 'f64')]])).toThrow(
      /needs f64 \[3\], got f64 \[1\]/,
    )
  })
  claim('gradients add up over passes', () => {
    const [a, b] = two()
    const parameters = new Map([['w', b]])
    const loss = (rows: Tensor) => valueAndGrad(() => rows.matmul(b).square().sum(), parameters).gradients
    const sums = new Gradients()
    for (const row of [0, 1, 2]) scope(() => sums.add(loss(a.slice(0, row, row + 1))))
    const whole = valuesOf(loss(a).get('w')!)
    for (const [i, value] of valuesOf(sums.get().get('w')!).entries())
      expect(value).toBeCloseTo(whole[i]!, 12)
    expect(() => sums.add(new Map([['w', a]]))).toThrow(/gradient of w/)
    sums.clear()
    expect(sums.get().size).toBe(0)
  })

  claim('a gradient written by hand sees what arrives, and what it saved is counted', () => {
    const lower = customGradient({
      name: 'lowerBound',
      forward: ([x]: readonly [Tensor]) => ({ output: x.maximum(0), saved: [x.less(0)] }),
      // Passes below the bound only what would raise x.
      backward: ({ saved: [below], gradient }) => [below!.logicalAnd(gradient.greater(0)).where(0, gradient)],
    })
    const x = tensor([-1, -1, 2], [3], 'f64')
    const weights = tensor([1, -1, 1], [3], 'f64')
    const { gradients, savedBytes } = valueAndGrad(([x]) => lower(x).mul(weights).sum(), [x])
    expect(valuesOf(gradients[0])).toEqual([0, -1, 1])
    // Three bools and the weights.
    expect(savedBytes).toBe(3 + 24)
    const through = customGradient({
      name: 'through',
      forward: ([x]: readonly [Tensor]) => ({ output: x, saved: [] }),
      backward: ({ gradient }) => [gradient.mul(2)],
    })
    expect(valuesOf(valueAndGrad(([x]) => through(x).sum(), [x]).gradients[0])).toEqual([2, 2, 2])
  })

  claim('a checkpoint gives the bits of the plain way and keeps only its inputs', () => {
    const [x, v, w] = [
      [5, 4],
      [4, 4],
      [4, 4],
    ].map((shape, i) => exactTensor(shape, 'f64', i + 1)) as [Tensor, Tensor, Tensor]
    const block = (w: Tensor) => (x: Tensor) => x.matmul(w).tanh().matmul(w).exp().add(x)
    const plain = valueAndGrad(([x]) => block(w)(block(v)(x)).sum(), [x, v, w])
    const kept = valueAndGrad(([x]) => checkpoint(block(w), checkpoint(block(v), x)).sum(), [x, v, w])
    expect(kept.value.bytes()).toEqual(plain.value.bytes())
    for (const i of [0, 1, 2] as const) expect(kept.gradients[i].bytes()).toEqual(plain.gradients[i].bytes())
    // Of each block tanh and exp, and the input of the second one, which its first product reads.
    expect([kept.savedBytes, plain.savedBytes]).toEqual([5 * 4 * 8, 5 * 5 * 4 * 8])
  })
  claim(
    'a checkpoint draws the same numbers again, leaves its streams alone, and knows that it is one',
    () => {
      const x = exactTensor([64], 'f64')
      const run = (wrap: (f: (x: Tensor) => Tensor, x: Tensor) => Tensor) => {
        const stream = randomStream(3, 'mask')
        const effects: boolean[] = []
        const { gradients } = valueAndGrad(
          ([x]) =>
            wrap((x) => {
              effects.push(isRecomputing())
              return x.mul(stream.uniform([64], 'f64'))
            }, x).sum(),
          [x],
        )
        return { gradient: valuesOf(gradients[0]), position: stream.position, effects }
      }
      const plain = run((f, x) => f(x))
      const kept = run((f, x) => checkpoint(f, x))
      expect([kept.gradient, kept.position]).toEqual([plain.gradient, plain.position])
      expect([plain.effects, kept.effects]).toEqual([[false], [false, true]])
    },
  )
  claim('checkpoints nest, and several outputs get their gradients', () => {
    gradientCheck(
      (x, y) => checkpoint((x, y) => [checkpoint((x) => x.exp().sin(), x).mul(y), x.mul(3)], x!, y!),
      inputsOf([3, 2], [2]),
    )
  })
}
