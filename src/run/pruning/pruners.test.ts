import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { adam, adamW } from '../../optim/adam.ts'
import { sgd } from '../../optim/sgd.ts'
import type { TrainingMethod } from '../../optim/training_method.ts'
import type { TrainingBatch } from '../../optim/training_task.ts'
import { instantSparsify } from '../../prune/instant.ts'
import { keptCount } from '../../prune/mask.ts'
import type { PruningMethod } from '../../prune/masked_training.ts'
import { pruningMethods } from '../../prune/training_methods.ts'
import { OptionError, StateError } from '../../tensor/errors.ts'
import { dispose, referenceKernels } from '../../tensor/index.ts'
import { readCheckpoint, writeCheckpoint } from '../../train/training_file.ts'
import { bitsOf, matrices, numbersOf, on, smallTask, training } from './small_task.suite.ts'

const { magnitude, saliency, random, fisher, ac_dc: acDc } = pruningMethods
const schedule = { kind: 'polynomial', begin: 1, end: 8, every: 2 } as const
/** One of each, at one sparsity. */
const made = (sparsity: number, packed = false): Record<string, () => TrainingMethod<TrainingBatch>> => {
  const shared = { sparsity, packed }
  return {
    gmp: () => pruningMethods.gmp({ ...shared, begin: 1, end: 8, every: 2 }),
    no_prune: () => pruningMethods.no_prune(),
    magnitude: () => magnitude({ ...shared, schedule }),
    random: () => random({ ...shared, schedule }),
    saliency: () => saliency({ ...shared, schedule }),
    magnitude_ste: () => pruningMethods.magnitude_ste({ ...shared, schedule }),
    random_ste: () => pruningMethods.random_ste({ ...shared, schedule }),
    global_magnitude: () => pruningMethods.global_magnitude({ ...shared, schedule }),
    global_saliency: () => pruningMethods.global_saliency({ ...shared, schedule }),
    static_sparse: () => pruningMethods.static_sparse(shared),
    set: () => pruningMethods.set({ ...shared, begin: 1, every: 2, end: 8, drop: 0.5 }),
    rigl: () => pruningMethods.rigl({ ...shared, begin: 1, every: 2, end: 8, drop: 0.5 }),
    fisher: () => fisher({ ...shared, schedule }),
    ac_dc: () => acDc({ ...shared, begin: 1, sparse: 2, dense: 2, end: 7 }),
  }
}
const names = Object.keys(pruningMethods)
const zeroShare = (values: readonly number[]) => values.filter((value) => value === 0).length / values.length
const kept = (mask: Uint8Array) => mask.reduce((sum, bit) => sum + bit, 0)

test('every method of the table stands in this suite, under the name of its factory', () => {
  expect(Object.keys(made(0.5)).sort()).toEqual(names.toSorted())
  for (const [name, make] of Object.entries(made(0.5))) expect(make().name).toBe(name)
})
test.each(names.filter((name) => !['set', 'rigl'].includes(name)))(
  'at target sparsity 0 %s gives the bits of the optimiser alone for 50 steps',
  (name) => {
    on(() => {
      const run = (methods: TrainingMethod<TrainingBatch>[]) => {
        const { trainer } = training(methods, adam({ rate: 0.01 }))
        for (let step = 0; step < 50; step++) trainer.next()
        return bitsOf(trainer)
      }
      expect(run([made(0)[name]!()])).toEqual(run([]))
    })
  },
)
test.each(names)('%s stopped after any step goes on to the same bits', (name) => {
  for (const packed of name === 'no_prune' ? [false] : [false, true])
    on(() => {
      const make = () => training([made(0.7, packed)[name]!()], adamW({ rate: 0.01 }), { clip: 0.5 })
      const whole = make()
      const reports = Array.from({ length: 10 }, () => whole.trainer.next())
      for (const stop of packed ? [4] : [0, 3, 7]) {
        const first = make()
        for (let step = 0; step < stop; step++) first.trainer.next()
        const [saved, position] = [first.trainer.state(), first.trainer.position()]
        const second = make()
        second.trainer.load(saved, position)
        expect(Array.from({ length: 10 - stop }, () => second.trainer.next())).toEqual(reports.slice(stop))
        expect(bitsOf(second.trainer, true)).toEqual(bitsOf(whole.trainer, true))
      }
    })
})
test.each(names.filter((name) => name !== 'no_prune'))(
  'packed and unpacked masks give identical trajectories: %s',
  (name) => {
    on(() => {
      const [plain, packed] = [false, true].map((isPacked) => {
        const method = made(0.7, isPacked)[name]!() as PruningMethod
        const { trainer } = training([method], adamW({ rate: 0.01 }))
        const losses = Array.from({ length: 10 }, () => trainer.next()!.loss)
        return { losses, bits: bitsOf(trainer), masks: method.masks() }
      })
      expect(packed).toEqual(plain)
    })
  },
)
test.each(names.filter((name) => name !== 'no_prune'))(
  '%s leaves exactly the zeros that were asked for',
  (name) => {
    on(() => {
      const method = made(0.7)[name]!() as PruningMethod
      const { task, trainer } = training([method], adamW({ rate: 0.01 }))
      for (let step = 0; step < 10; step++) trainer.next()
      trainer.finish()
      const sizes = matrices.map((path) => task.parameters.get(path).tensor.size)
      const counts = matrices.map((path) => kept(method.masks().get(path)!))
      if (name.startsWith('global_'))
        expect(counts.reduce((a, b) => a + b)).toBe(
          keptCount(
            sizes.reduce((a, b) => a + b),
            0.7,
          ),
        )
      else expect(counts).toEqual(sizes.map((size) => keptCount(size, 0.7)))
      // A connection that has just grown may still be 0.
      const grows = name === 'set' || name === 'rigl'
      for (const [path, mask] of method.masks())
        for (const [i, weight] of numbersOf(task.parameters.get(path).tensor).entries())
          if (mask[i] === 0 || !grows) expect(weight === 0).toBe(mask[i] === 0)
      expect(zeroShare(numbersOf(task.parameters.get('layer.0.bias').tensor))).toBe(0)
    })
  },
)
test.each(names)('%s: steps leave no memory behind, and a training that is over none at all', (name) => {
  const count = () => referenceKernels().memory().tensors
  const idle = count()
  on(() => {
    const { task, trainer } = training([made(0.7)[name]!()], adam())
    for (let step = 0; step < 4; step++) trainer.next()
    const before = count()
    for (let step = 0; step < 4; step++) trainer.next()
    expect(count()).toBe(before)
    trainer.dispose()
    task.parameters.dispose()
  })
  expect(count()).toBe(idle)
})
test('of a bf16 model the f32 weights are masked, and the copy that it computes with', () => {
  on(() => {
    for (const name of ['gmp', 'magnitude', 'rigl', 'magnitude_ste', 'saliency']) {
      const method = made(0.7)[name]!() as PruningMethod
      const { task, trainer } = training([method], adam({ rate: 0.01 }), {
        task: smallTask({ dtype: 'bf16' }),
      })
      for (let step = 0; step < 10; step++) trainer.next()
      trainer.finish()
      for (const [path, mask] of method.masks()) {
        const { state, tensor } = task.parameters.get(path)
        for (const x of [state.tensor(), tensor])
          expect(numbersOf(x).every((weight, i) => mask[i] === 1 || weight === 0)).toBe(true)
      }
    }
  })
})
test('masks travel through the file of a checkpoint', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pruners-test-'))
  try {
    on(() => {
      const make = () => training([magnitude({ sparsity: 0.7, schedule, packed: false })])
      const [whole, first, second] = [make(), make(), make()]
      for (let step = 0; step < 5; step++) for (const { trainer } of [whole, first]) trainer.next()
      const path = writeCheckpoint(folder, first.trainer.state(), first.trainer.position(), { run: 'test' })
      const { tensors, position } = readCheckpoint(path, 'test')
      second.trainer.load(tensors, position)
      dispose(Object.values(tensors))
      for (let step = 0; step < 5; step++) for (const { trainer } of [whole, second]) trainer.next()
      expect(bitsOf(second.trainer, true)).toEqual(bitsOf(whole.trainer, true))
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
})
test('saliency keeps the largest products of weight and gradient', () => {
  on(() => {
    let wanted: number[] = []
    const method = saliency({ sparsity: 0.5, schedule: { kind: 'oneShot', at: 2 } })
    const path = matrices[0]!
    const look: TrainingMethod<TrainingBatch> = {
      name: 'look',
      clipped(gradients, { parameters }) {
        wanted = numbersOf(parameters.get(path).tensor.mul(gradients.get(path)!).abs())
        return gradients
      },
    }
    const { trainer } = training([look, method])
    for (let step = 0; step < 3; step++) trainer.next()
    const order = [...wanted.keys()].sort((a, b) => wanted[b]! - wanted[a]! || a - b).slice(0, 48)
    expect(method.masks().get(path)).toEqual(Uint8Array.from(wanted, (_, i) => (order.includes(i) ? 1 : 0)))
  })
})
test('random masks are nested, and the same for the same seed only', () => {
  on(() => {
    const run = (seed: number) => {
      const method = random({ sparsity: 0.8, schedule, seed })
      const { trainer } = training([method])
      const seen = Array.from({ length: 9 }, () => {
        trainer.next()
        return method.masks().get(matrices[0]!)!
      })
      for (const [i, mask] of seen.slice(1).entries())
        expect(mask.every((bit, at) => bit <= seen[i]![at]!)).toBe(true)
      return seen.at(-1)!
    }
    expect(run(1)).toEqual(run(1))
    expect(run(1)).not.toEqual(run(2))
  })
})
test('the Fisher score is the square of the weight times the second moment, which only Adam has', () => {
  on(() => {
    const options = { sparsity: 0.5, schedule: { kind: 'oneShot', at: 1 } } as const
    const twin = training([], adam())
    twin.trainer.next()
    const path = matrices[0]!
    const second = twin.trainer.optimiser.states().get(`${path}/second`)!.tensor()
    const scores = numbersOf(twin.task.parameters.get(path).tensor.square().mul(second))
    const method = fisher(options)
    const { trainer } = training([method], adam())
    trainer.next()
    trainer.next()
    const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, 48)
    expect(method.masks().get(path)).toEqual(Uint8Array.from(scores, (_, i) => (order.includes(i) ? 1 : 0)))
    const other = training([fisher(options)], sgd())
    other.trainer.next()
    expect(() => other.trainer.next()).toThrow(StateError)
  })
})
test('AC/DC alternates sparse and dense phases and ends sparse', () => {
  on(() => {
    const method = acDc({ sparsity: 0.5, begin: 1, sparse: 2, dense: 1, end: 8, reset: true })
    const { trainer } = training([method], adam())
    const phases = Array.from({ length: 11 }, () => {
      trainer.next()
      return kept(method.masks().get(matrices[0]!)!) === 96 ? 'd' : 's'
    })
    expect(phases.join('')).toBe('dssdssdssss')
  })
})
test('instant pruning gives masks and masked copies, and leaves the weights; what needs a training is refused', () => {
  on(() => {
    const { task } = training([])
    const weights = task.parameters.tensors()
    const before = numbersOf(weights.get(matrices[0]!)!)
    const pruned = instantSparsify(weights, { sparsity: 0.75 })
    expect(numbersOf(weights.get(matrices[0]!)!)).toEqual(before)
    for (const path of matrices) {
      const mask = pruned.masks.get(path)!
      expect(kept(mask)).toBe(mask.length / 4)
      expect(numbersOf(pruned.weights.get(path)!)).toEqual(
        numbersOf(weights.get(path)!).map((weight, i) => (mask[i] ? weight : 0)),
      )
    }
    expect(pruned.weights.get('layer.0.bias')).toBe(weights.get('layer.0.bias'))
    const all = instantSparsify(weights, { sparsity: 0.75, algorithm: 'global_magnitude' })
    expect([...all.masks.values()].map(kept).reduce((a, b) => a + b)).toBe(56)
    expect(() => instantSparsify(weights, { sparsity: 0.75, algorithm: 'saliency' })).toThrow(OptionError)
    for (const algorithm of ['static_sparse', 'set', 'rigl', 'toString'])
      expect(() => instantSparsify(weights, { sparsity: 0.75, algorithm })).toThrow(/only in a training/)
    dispose(pruned.weights)
  })
})
test('masks of another model or kind are refused, and nothing changes', () => {
  on(() => {
    const method = magnitude({ sparsity: 0.5, schedule })
    const { trainer } = training([method])
    trainer.next()
    const saved = method.state!()
    for (const wrong of [
      {},
      { ...saved, count: saved['mask/layer.0.weight']! },
      { ...saved, 'mask/other': saved.count! },
      { ...saved, 'mask/layer.0.weight': saved['mask/layer.2.weight']! },
    ])
      expect(() => method.load!(wrong)).toThrow(StateError)
  })
})
