import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { adamW } from '../optim/adam.ts'
import { sgd } from '../optim/sgd.ts'
import type { TrainingMethod } from '../optim/training_method.ts'
import { NumericalError, OptionError, StateError } from '../tensor/errors.ts'
import { dispose, nativeKernels, State, scope, type Tensor, tensor, withKernels } from '../tensor/index.ts'
import { type PointBatch, pointLoader, pointTask } from './linear_task.suite.ts'
import { Trainer, type TrainerOptions } from './trainer.ts'
import { checkpointsIn, readCheckpoint, removeUnfinished, writeCheckpoint } from './training_file.ts'

const folders: string[] = []
const folder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'trainer-test-')))
  return folders.at(-1)!
}
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true })
})

const on = <T>(body: () => T): T => withKernels(nativeKernels(), () => scope(body))

function made(
  options: Partial<TrainerOptions<PointBatch>> = {},
  optimiser = sgd({ rate: 0.05, momentum: 0.9 }),
) {
  const task = pointTask()
  return {
    task,
    trainer: new Trainer({ task, loader: pointLoader(), optimiser: optimiser(task.parameters), ...options }),
  }
}
const numbersOf = ({ w, b }: { w: Tensor; b: Tensor }) => [w.item(), b.item()]

test('a step is that of its equations, worked in numbers', () => {
  on(() => {
    const { task, trainer } = made({ loader: pointLoader({ samples: 2, size: 2 }) }, sgd({ rate: 0.1 }))
    const report = trainer.next()!
    // x is 1/4 and 1/2, targets -1/4 and 1/2, values 1/8 and 1/4: differences 3/8 and -1/4.
    expect(report.loss).toBeCloseTo((9 / 64 + 1 / 16) / 2, 14)
    const [dw, db] = [3 / 8 / 4 - 1 / 4 / 2, 3 / 8 - 1 / 4]
    expect(numbersOf(task)).toEqual([expect.closeTo(0.5 - 0.1 * dw, 14), expect.closeTo(-0.1 * db, 14)])
    expect(report.gradientNorm).toBeCloseTo(Math.hypot(dw, db), 14)
    expect(report).toMatchObject({ step: 1, epoch: 0, samples: 2, work: { units: 2, unit: 'points' } })
  })
})
test('it learns what the samples say', () => {
  on(() => {
    const { task, trainer } = made()
    for (let i = 0; i < 600; i++) trainer.next()
    expect(numbersOf(task)).toEqual([expect.closeTo(3, 6), expect.closeTo(-1, 6)])
  })
})
test('several batches a step give the mean of their gradients', () => {
  on(() => {
    const whole = made({ loader: pointLoader({ samples: 12, size: 12 }) })
    const parts = made({ loader: pointLoader({ samples: 12, size: 4 }), accumulate: 3 })
    for (let i = 0; i < 3; i++) {
      const [a, b] = [whole.trainer.next()!, parts.trainer.next()!]
      expect(b.loss).toBeCloseTo(a.loss, 12)
      expect(b.work.units).toBe(12)
    }
    for (const [i, value] of numbersOf(parts.task).entries())
      expect(value).toBeCloseTo(numbersOf(whole.task)[i]!, 12)
  })
})
test('a norm above the limit is shortened to it, one below stays with its bits', () => {
  on(() => {
    const run = (clip?: number) => {
      const { task, trainer } = made(clip === undefined ? {} : { clip }, sgd({ rate: 1 }))
      const { gradientNorm } = trainer.next()!
      const [w, b] = numbersOf(task)
      return { gradientNorm, moved: Math.hypot(w! - 0.5, b!), numbers: [w, b] }
    }
    const free = run()
    expect(run(free.gradientNorm * 2).numbers).toEqual(free.numbers)
    const short = run(0.01)
    expect([short.gradientNorm, short.moved]).toEqual([
      free.gradientNorm,
      expect.closeTo((0.01 * free.gradientNorm) / (free.gradientNorm + 1e-6), 12),
    ])
  })
})
test('the data ends after its epochs', () => {
  on(() => {
    const { trainer } = made({ loader: pointLoader({ epochs: 2, samples: 10, size: 4 }) })
    const epochs: number[] = []
    for (let report = trainer.next(); report; report = trainer.next()) epochs.push(report.epoch)
    expect(epochs).toEqual([0, 0, 0, 1, 1, 1])
  })
})
test('a batch in which nothing counts has the loss 0 and moves nothing, and others follow those that count', () => {
  on(() => {
    const counting = (counts: (id: number) => number) => {
      const task = pointTask()
      const counted = {
        ...task,
        counts: ({ ids }: PointBatch) => tensor(Array.from(ids, counts), [ids.length], 'f64'),
      }
      const loader = pointLoader({ samples: 4, size: 2 })
      const optimiser = sgd({ rate: 0.1 })(task.parameters)
      return { task, trainer: new Trainer({ task: counted, loader, optimiser, clip: 1 }) }
    }
    const silent = counting(() => 0)
    expect(silent.trainer.next()).toMatchObject({ step: 1, loss: 0, gradientNorm: 0 })
    expect(numbersOf(silent.task)).toEqual([0.5, 0])
    const unweighed = made({ methods: [{ name: 'none', weigh: (losses) => losses.mul(0) }] })
    expect(unweighed.trainer.next()).toMatchObject({ loss: 0, gradientNorm: 0 })
    // Two batches of two; the sample 0 alone counts: x is 1/4, the target -1/4, the value 1/8.
    const one = counting((id) => (id === 0 ? 3 : 0))
    const losses = [one.trainer.next()!.loss, one.trainer.next()!.loss].toSorted((a, b) => a - b)
    expect(losses).toEqual([0, expect.closeTo(9 / 64, 14)])
  })
})

describe('a loss that is not finite', () => {
  const poison = (...steps: number[]): TrainingMethod<PointBatch> => ({
    name: 'poison',
    weigh: (losses, _, { step }) => losses.mul(0).add(steps.includes(step) ? Number.NaN : 1),
  })
  test('ends the run, with the numbers of before', () => {
    on(() => {
      const { task, trainer } = made({ methods: [poison(2)] })
      trainer.next()
      trainer.next()
      const before = numbersOf(task)
      expect(() => trainer.next()).toThrow(NumericalError)
      expect(numbersOf(task)).toEqual(before)
      const other = made({ methods: [poison(0)] })
      expect(() => other.trainer.next()).toThrow(/step 1: .*loss NaN/)
    })
  })
  test('is found in a sample that does not count', () => {
    on(() => {
      const silent: TrainingMethod<PointBatch> = { name: 'silent', weigh: (losses) => losses.mul(0) }
      const { task, trainer } = made({ methods: [silent] })
      task.parameters.assign('line.w', tensor([Number.POSITIVE_INFINITY], [1], 'f64'))
      expect(() => trainer.next()).toThrow(/loss NaN/)
    })
  })
  test('is left out as often as that is allowed, and said', () => {
    on(() => {
      const { task, trainer } = made({ methods: [poison(1, 2, 4, 5, 6)], skipAtMost: 2 })
      const skipped = Array.from({ length: 6 }, () => {
        const before = numbersOf(task)
        const report = trainer.next()!
        const stayed = numbersOf(task).every((value, i) => value === before[i])
        expect(stayed).toBe(report.skipped !== undefined)
        return report.skipped !== undefined
      })
      expect(skipped).toEqual([false, true, true, false, true, true])
      expect(() => trainer.next()).toThrow(NumericalError)
    })
  })
})

test('phases run in their order, each with what the one before has made', () => {
  on(() => {
    const heard: string[] = []
    const hear = <T>(what: string, value: T): T => {
      heard.push(what)
      return value
    }
    const method: TrainingMethod<PointBatch> = {
      name: 'all',
      prepare: () => hear('prepare', undefined),
      batch: ({ ids }) => hear('batch', { ids: ids.slice(0, 1) }),
      weigh: (losses) => hear(`weigh ${losses.size}`, losses.mul(0).add(2)),
      gradients: (all) => hear('gradients', all),
      reduce: (all) => hear('reduce', all),
      clipped: (all) => hear('clipped', all),
      update: (all, take) => {
        take(all)
        heard.push('update')
      },
      afterUpdate: ({ step }) => hear(`after ${step}`, undefined),
      events: [
        { every: 2, run: ({ step }) => hear(`event ${step}`, undefined) },
        { every: 2, begin: 1, end: 4, run: ({ step }) => hear(`late ${step}`, undefined) },
      ],
      endOfEpoch: ({ epoch }) => hear(`epoch ${epoch}`, undefined),
      finish: () => hear('finish', undefined),
    }
    const { trainer } = made({ methods: [method], loader: pointLoader({ samples: 8, size: 4 }) })
    for (let i = 0; i < 4; i++) trainer.next()
    trainer.finish()
    const step = (n: number, ...events: string[]) => [
      'batch',
      'weigh 1',
      'gradients',
      'reduce',
      'clipped',
      'update',
      `after ${n}`,
      ...events,
    ]
    expect(heard).toEqual([
      'prepare',
      ...step(1, 'late 1'),
      ...step(2, 'event 2', 'epoch 1'),
      ...step(3, 'late 3'),
      ...step(4, 'event 4', 'late 4', 'epoch 2'),
      'finish',
    ])
  })
})
test('a method that does nothing leaves the bits of the run', () => {
  on(() => {
    const idle: TrainingMethod<PointBatch> = {
      name: 'idle',
      gradients: (all) => all,
      clipped: (all) => all,
      update: (all, take) => take(all),
      afterUpdate: () => {},
    }
    const [plain, watched] = [made({ clip: 100 }), made({ clip: 100, methods: [idle] })]
    for (let i = 0; i < 5; i++) for (const { trainer } of [plain, watched]) trainer.next()
    expect(numbersOf(watched.task)).toEqual(numbersOf(plain.task))
  })
})
test('two methods of one name, or for one phase, are refused, and numbers out of range', () => {
  on(() => {
    const reduce = (name: string): TrainingMethod<PointBatch> => ({ name, reduce: (all) => all })
    expect(() => made({ methods: [reduce('a'), reduce('a')] })).toThrow(/a stands there twice/)
    expect(() => made({ methods: [reduce('a'), reduce('b')] })).toThrow(
      /a and b each replace the phase reduce/,
    )
    for (const wrong of [{ clip: 0 }, { accumulate: 0 }, { skipAtMost: -1 }, { accumulate: 1.5 }])
      expect(() => made(wrong)).toThrow(OptionError)
  })
})
test('a method that cannot prepare stops every try to go on', () => {
  on(() => {
    const broken: TrainingMethod<PointBatch> = {
      name: 'broken',
      prepare() {
        throw new OptionError('broken: needs another model')
      },
    }
    const { trainer } = made({ methods: [broken] })
    for (const go of [() => trainer.next(), () => trainer.next(), () => trainer.state()])
      expect(go).toThrow(/another model/)
    expect(trainer.steps).toBe(0)
  })
})

describe('a checkpoint', () => {
  /** Counts its steps in a state of its own, and draws a number in each of them. */
  function noisy(): TrainingMethod<PointBatch> {
    const count = new State('count', [1], 'f64')
    return {
      name: 'noisy',
      gradients: (all, context) => {
        const noise = context.stream('noise').normal([1], 'f64').mul(0.01)
        return new Map([...all].map(([path, gradient]) => [path, gradient.add(noise)]))
      },
      afterUpdate: () => scope(() => count.assign(count.value().add(1))),
      state: () => ({ count: count.value() }),
      load: ({ count: saved }) => count.assign(saved!),
      dispose: () => count.dispose(),
    }
  }
  const fresh = () => made({ methods: [noisy()], clip: 1 }, adamW({ rate: 0.05 }))
  const run = { recipe: { steps: 9, rate: 0.05 }, data: 'points' }
  const stateOf = (trainer: Trainer<PointBatch>) =>
    scope(() =>
      Object.entries(trainer.state())
        .map(([path, x]) => `${path} ${x.bytes().join(' ')}`)
        .toSorted(),
    )

  test('taken after any step goes on to the same bits', () => {
    on(() => {
      const whole = fresh()
      const losses = Array.from({ length: 9 }, () => whole.trainer.next()!.loss)
      for (const stop of [0, 1, 2, 3, 5, 8]) {
        const place = folder()
        const first = fresh()
        for (let i = 0; i < stop; i++) first.trainer.next()
        const path = writeCheckpoint(place, first.trainer.state(), first.trainer.position(), { run })
        const second = fresh()
        const { tensors, position } = readCheckpoint(path, run)
        second.trainer.load(tensors, position)
        dispose(Object.values(tensors))
        expect(second.trainer.steps).toBe(stop)
        expect(Array.from({ length: 9 - stop }, () => second.trainer.next()!.loss)).toEqual(
          losses.slice(stop),
        )
        expect(stateOf(second.trainer)).toEqual(stateOf(whole.trainer))
        expect(second.trainer.position()).toEqual(whole.trainer.position())
      }
    })
  })
  test('of another recipe, seed or version is refused with what differs', () => {
    on(() => {
      const { trainer } = fresh()
      trainer.next()
      const path = writeCheckpoint(folder(), trainer.state(), trainer.position(), { run })
      const other = { recipe: { steps: 9, rate: 0.1 }, data: 'points' }
      expect(() => readCheckpoint(path, other)).toThrow(/recipe\.rate was 0\.05, is 0\.1/)
      expect(() => readCheckpoint(path, { ...run, extra: 1 })).toThrow(StateError)
      const { tensors, position } = readCheckpoint(path, run)
      const seeded = made({ seed: 7, methods: [noisy()] }, adamW({ rate: 0.05 }))
      expect(() => seeded.trainer.load(tensors, position)).toThrow(
        /seed: the saved state has 0, the run asks for 7/,
      )
    })
  })
  test('that is damaged or none is refused by name, and the ones before it stay', () => {
    on(() => {
      const place = folder()
      const { trainer } = fresh()
      for (let i = 0; i < 3; i++) {
        trainer.next()
        writeCheckpoint(place, trainer.state(), trainer.position(), { run, keep: 2 })
      }
      expect(readdirSync(place)).toEqual(['step-000000002.safetensors', 'step-000000003.safetensors'])
      writeFileSync(join(place, '.step-000000004.safetensors.0123456789ab.part'), 'cut')
      removeUnfinished(place)
      expect(checkpointsIn(place)).toHaveLength(2)
      const bad = join(place, 'step-000000009.safetensors')
      for (const content of [
        '',
        'x'.repeat(100),
        Buffer.from([8, 0, 0, 0, 0, 0, 0, 0, ...Buffer.from('{}      ')]),
      ]) {
        writeFileSync(bad, content)
        expect(() => readCheckpoint(bad, run)).toThrow(StateError)
        expect(() => readCheckpoint(bad, run)).toThrow(/step-000000009/)
      }
      expect(() => writeCheckpoint(place, {}, trainer.position(), { run, keep: 0 })).toThrow(OptionError)
    })
  })
})

test('steps leave no memory behind', () => {
  on(() => {
    const { trainer } = made()
    trainer.next()
    const before = nativeKernels().memory().tensors
    for (let i = 0; i < 5; i++) trainer.next()
    expect(nativeKernels().memory().tensors).toBe(before)
    expect(tensor([1]).alive).toBe(true)
  })
})
