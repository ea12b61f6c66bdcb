import { expect, test } from 'vitest'
import { OptionError } from './errors.ts'
import {
  add,
  apply,
  attention,
  clamp,
  type Entry,
  linear,
  nativeKernels,
  type Operation,
  referenceKernels,
  State,
  scope,
  softmax,
  Tensor,
  tensor,
  withKernels,
  withRecorder,
  zeros,
} from './index.ts'

/** Names of the operations that a body runs, on the reference kernels. */
function recorded(body: () => unknown): string[] {
  const entries: Entry[] = []
  withKernels(referenceKernels(), () =>
    scope(() => {
      withRecorder({ record: (entry) => entries.push(entry) }, body)
    }),
  )
  return entries.map((entry) => entry.operation.name)
}

test('a recorder sees every operation once, in order, views included', () => {
  expect(recorded(() => add(zeros([2]), 1))).toEqual(['expand', 'add'])
  expect(recorded(() => softmax(zeros([2, 3]), 0))).toEqual(['permute', 'softmax', 'permute'])
  expect(recorded(() => linear(zeros([2, 3, 4]), zeros([5, 4])))).toEqual([
    'reshape',
    'permute',
    'matmul',
    'reshape',
  ])
  expect(recorded(() => attention(zeros([1, 2, 3, 4]), zeros([1, 1, 3, 4]), zeros([1, 1, 3, 4])))).toEqual([
    'attention',
    'permute',
  ])
  expect(recorded(() => clamp(zeros([2]), { min: -1, max: 1 }))).toEqual(['clamp'])
})
test('a recorder may keep windows on what the scope around an operation frees', () => {
  const kept: Tensor[] = []
  const keep = (x: Tensor | undefined) => {
    if (!x) return
    const handle = x.kernels.restride(x.handle, x.shape, x.strides, x.offset)
    const own = new Tensor(x.kernels, handle, x.dtype, x.shape, x.strides, x.offset)
    own.adopt()
    kept.push(own)
  }
  const before = referenceKernels().memory().tensors
  withKernels(referenceKernels(), () =>
    scope(() => {
      withRecorder({ record: (entry) => entry.inputs.forEach(keep) }, () => {
        scope(() => softmax(tensor([0, 0, 0, 0], [2, 2]).mul(2), 0).sum())
      })
    }),
  )
  expect(kept.map((x) => x.alive)).toEqual(kept.map(() => true))
  expect([...kept.at(-1)!.toArray()]).toEqual([0.5, 0.5, 0.5, 0.5])
  for (const x of kept) x.dispose()
  expect(referenceKernels().memory().tensors).toBe(before)
})
test('nothing is recorded outside of a recorder, and an error ends it', () => {
  const seen: Entry[] = []
  expect(() =>
    withRecorder({ record: (entry) => seen.push(entry) }, () => {
      throw new RangeError('stop')
    }),
  ).toThrow('stop')
  withKernels(referenceKernels(), () => zeros([2]).unsqueeze(0))
  expect(seen).toEqual([])
})
test('tensors in different memories do not mix', () => {
  const x = withKernels(referenceKernels(), () => tensor([1]))
  const y = withKernels(nativeKernels(), () => tensor([1]))
  expect(() => add(x, y)).toThrow(/live in reference and native memory/)
})
test('an error of Pare passes through an operation as it is', () => {
  const error = new OptionError('refused', { code: 'PARE_E_TEST', facts: { width: 3 } })
  const failing: Operation<[Tensor], object, Tensor> = {
    name: 'failing',
    forward() {
      throw error
    },
  }
  const x = withKernels(referenceKernels(), () => tensor([1]))
  let caught: unknown
  try {
    apply(failing, [x], {})
  } catch (thrown) {
    caught = thrown
  }
  expect(caught).toBe(error)
})
test('a state outlives the scope that it was made in', () => {
  const made: State[] = []
  scope(() => {
    made.push(new State('moments', [2], 'f32', referenceKernels()))
  })
  const state = made[0]!
  expect([...state.bytes()]).toEqual(new Array(8).fill(0))
  state.dispose()
})
test('methods are the functions of their name', () => {
  withKernels(referenceKernels(), () => {
    const x = tensor([3, -1, 2, 0.5], [2, 2])
    expect(x.matmul(x).bytes()).toEqual(linear(x, x.transpose()).bytes())
    expect([...x.clamp({ min: 0 }).sum(-1, { keepDims: true }).toArray()]).toEqual([3, 2.5])
    expect([...x.topK(1, { largest: false }).values.toArray()]).toEqual([-1, 0.5])
  })
})
