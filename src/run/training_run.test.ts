import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Disk, setDisk, systemDisk } from '../formats/disk.ts'
import { adamW } from '../optim/adam.ts'
import type { TrainingMethod } from '../optim/training_method.ts'
import { AbortError, NumericalError, ResourceError, StateError } from '../tensor/errors.ts'
import { type PointBatch, pointLoader, pointTask } from '../train/linear_task.suite.ts'
import { Trainer } from '../train/trainer.ts'
import { lockWork, unlockWork } from './run_lock.ts'
import { runTraining, type TrainingRunOptions } from './training_run.ts'

const folders: string[] = []
const folder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'training-run-')))
  return folders.at(-1)!
}
afterEach(() => {
  setDisk(systemDisk)
  for (const made of folders.splice(0)) rmSync(made, { recursive: true })
})

const recipe = { steps: 12, rate: 0.05 }

/** A sitting of a run; what it has learned, and what it says. */
async function sitting(
  output: string,
  options: Partial<TrainingRunOptions<PointBatch>> & { methods?: readonly TrainingMethod<PointBatch>[] } = {},
) {
  const { methods = [], ...others } = options
  const task = pointTask()
  const evaluated = { ...task, evaluate: () => ({ w: task.w.item() }) }
  const trainer = new Trainer({
    task: evaluated,
    loader: pointLoader(),
    optimiser: adamW({ rate: recipe.rate })(task.parameters),
    methods,
  })
  const summary = await runTraining({
    trainer,
    output,
    run: recipe,
    steps: recipe.steps,
    checkpointEvery: 3,
    logEvery: 2,
    evaluateEvery: 5,
    ...others,
  })
  return { summary, learned: [task.w.item(), task.b.item()] }
}
/** Lines of the log without times. */
const logOf = (output: string) =>
  readFileSync(join(output, 'log.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => ({ ...JSON.parse(line), seconds: 0, perSecond: 0 }))

test('a run that is stopped anywhere goes on to the bits of one that was left alone', async () => {
  const whole = folder()
  const alone = await sitting(whole)
  expect(alone.summary).toMatchObject({ steps: 12, epoch: 4, skipped: 0, resumedAt: undefined })
  for (const stop of [1, 3, 4, 11]) {
    const output = folder()
    const controller = new AbortController()
    const progress = { step: 0 }
    const stopping: TrainingMethod<PointBatch> = {
      name: 'stopping',
      afterUpdate: ({ step }) => {
        progress.step = step
        if (step === stop) controller.abort()
      },
    }
    await expect(sitting(output, { methods: [stopping], signal: controller.signal })).rejects.toThrow(
      AbortError,
    )
    expect(progress.step).toBe(stop)
    const again = await sitting(output)
    expect(again.learned).toEqual(alone.learned)
    expect(again.summary).toMatchObject({ steps: 12, resumedAt: stop })
    expect(logOf(output)).toEqual(logOf(whole))
  }
})
test('a disk that fills or fails at any step costs no more than the steps since the last checkpoint', async () => {
  const whole = folder()
  const alone = await sitting(whole)
  /** The disk, until so many of its steps are done; then it is full. */
  const fullAfter = (most: number): { disk: Disk; full: () => boolean } => {
    let count = 0
    const limited = Object.fromEntries(
      Object.entries(systemDisk).map(([name, run]) => [
        name,
        (...args: never[]) => {
          if (name === 'write' && ++count > most) {
            throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', errno: -28 })
          }
          return (run as (...all: never[]) => unknown)(...args)
        },
      ]),
    ) as unknown as Disk
    return { disk: limited, full: () => count > most }
  }
  let failures = 0
  for (let most = 0; most < 40; most += 3) {
    const output = folder()
    const { disk, full } = fullAfter(most)
    setDisk(disk)
    const run = sitting(output)
    if (
      await run.then(
        () => false,
        (error) => error instanceof ResourceError,
      )
    )
      failures++
    expect(full() ? failures : failures + 1).toBeGreaterThan(0)
    setDisk(systemDisk)
    const again = await sitting(output)
    expect(again.learned).toEqual(alone.learned)
    expect(readdirSync(join(output, '.pare', 'checkpoints')).every((name) => name.startsWith('step-'))).toBe(
      true,
    )
  }
  expect(failures).toBeGreaterThan(5)
})
test('a loss that is not finite ends the run with the last good checkpoint kept', async () => {
  const output = folder()
  const poison = (on: boolean): TrainingMethod<PointBatch> => ({
    name: 'poison',
    weigh: (losses, _, { step }) => losses.mul(0).add(on && step === 7 ? Number.NaN : 1),
  })
  await expect(sitting(output, { methods: [poison(true)] })).rejects.toThrow(NumericalError)
  expect(readdirSync(join(output, '.pare', 'checkpoints'))).toEqual([
    'step-000000003.safetensors',
    'step-000000006.safetensors',
  ])
  expect((await sitting(output, { methods: [poison(false)] })).summary.resumedAt).toBe(6)
})
test('another recipe, fewer steps or a second process is refused, and a restart begins anew', async () => {
  const output = folder()
  await sitting(output)
  await expect(sitting(output, { run: { ...recipe, rate: 0.1 } })).rejects.toThrow(/rate was 0\.05, is 0\.1/)
  await expect(sitting(output, { steps: 5 })).rejects.toThrow(StateError)
  const lock = lockWork(output)
  await expect(sitting(output)).rejects.toThrow(/another process works on/)
  unlockWork(lock)
  expect((await sitting(output)).summary.resumedAt).toBe(12)
  expect((await sitting(output, { restart: true })).summary.resumedAt).toBeUndefined()
})
test('a damaged checkpoint is named, and the run goes on from the one before; without one it is refused', async () => {
  const output = folder()
  const alone = await sitting(output)
  const folderOf = join(output, '.pare', 'checkpoints')
  const [nine, twelve] = ['09', '12'].map((step) => join(folderOf, `step-0000000${step}.safetensors`)) as [
    string,
    string,
  ]
  writeFileSync(twelve, readFileSync(twelve).subarray(0, 100))
  const notes: string[] = []
  const again = await sitting(output, { note: (text) => void notes.push(text) })
  expect([again.summary.resumedAt, again.learned]).toEqual([9, alone.learned])
  expect(notes).toHaveLength(1)
  expect(notes[0]).toMatch(/step-000000012\.safetensors: is damaged .*goes on from .*step-000000009/)
  expect(existsSync(twelve)).toBe(true)
  for (const path of [nine, twelve]) writeFileSync(path, readFileSync(path).subarray(0, 100))
  await expect(sitting(output)).rejects.toThrow(/step-000000012.*is damaged.*--restart/)
  expect(existsSync(nine)).toBe(true)
  // One of another recipe is no damage: nothing is gone on with in its place.
  rmSync(nine)
  rmSync(twelve)
  await sitting(output)
  await expect(sitting(output, { run: { ...recipe, rate: 0.1 } })).rejects.toThrow(/rate was/)
})
test('one bit of a checkpoint that turned is found', async () => {
  const output = folder()
  await sitting(output)
  const newest = join(output, '.pare', 'checkpoints', 'step-000000012.safetensors')
  const bytes = readFileSync(newest)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(newest, bytes)
  const notes: string[] = []
  const again = await sitting(output, { note: (text) => void notes.push(text) })
  expect(again.summary.resumedAt).toBe(9)
  expect(notes[0]).toMatch(/step-000000012\.safetensors: is damaged \(its numbers have another sum\)/)
})
test('with one checkpoint kept, those behind a damaged one are written and stay', async () => {
  const output = folder()
  await sitting(output)
  const newest = join(output, '.pare', 'checkpoints', 'step-000000012.safetensors')
  writeFileSync(newest, 'damaged')
  const controller = new AbortController()
  const stopped = sitting(output, {
    keep: 1,
    signal: controller.signal,
    progress: ({ step }) => void (step === 10 && controller.abort()),
  })
  await expect(stopped).rejects.toThrow(AbortError)
  expect(readdirSync(join(output, '.pare', 'checkpoints'))).toEqual(['step-000000010.safetensors'])
})
test('the log tells the rate that a step was taken with', async () => {
  const output = folder()
  const task = pointTask()
  const trainer = new Trainer({
    task,
    loader: pointLoader(),
    optimiser: adamW({ rate: (step) => 0.01 * (step + 1) })(task.parameters),
  })
  await runTraining({ trainer, output, run: 'rates', steps: 3, logEvery: 1 })
  expect(logOf(output).map(({ rate }) => rate)).toEqual([0.01, 0.02, 0.03])
})
test('a log that cannot be written is named', async () => {
  const output = folder()
  mkdirSync(join(output, 'log.jsonl'))
  await expect(sitting(output)).rejects.toThrow(/log\.jsonl: cannot be written \(EISDIR\)/)
})
