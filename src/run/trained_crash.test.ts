/** A run that trains its stages ends at any moment and goes on to the same bytes; journals of it may be hostile. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { setDisk, systemDisk } from '../formats/disk.ts'
import { type StepName, stoppingDisk } from '../formats/fragile_disk.suite.ts'
import { StateError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { diskUntil, isKilled, modelOf, smallRun, writeText } from './small_run.suite.ts'

let folder: string
let text: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'trained-crash-test-'))
  text = writeText(join(folder, 'text.txt'))
})
afterEach(() => void setDisk(systemDisk))
afterAll(() => rmSync(folder, { recursive: true }))

const trainings: Record<string, Partial<CompressOptions>> = {
  omniquant: { method: 'omniquant', epochs: 2, learningRate: 0.1 },
  aqlm: {
    method: 'aqlm',
    ...{ books: 2, bookBits: 3, rounds: 1, adamSteps: 2, blockEpochs: 2, blockRate: 1e-3, blockHeld: 0 },
  },
}
let count = 0
const optionsOf = (name: string): CompressOptions => {
  const { bits: _, groupSize: __, ...rest } = smallRun(text, join(folder, `run-${++count}`, 'out'))
  mkdirSync(join(rest.output, '..'))
  const grid = name === 'omniquant' ? { bits: 3, groupSize: 16 } : {}
  return { ...rest, ...grid, ...trainings[name] }
}
const killed = (run: Promise<unknown>, when: string) =>
  run.then(
    () => expect.unreachable(`${when} was not killed`),
    (error) => expect(isKilled(error), `${when} ended with ${error}`).toBe(true),
  )
/** What is reported of the training. */
const tuningOf = (output: string) => JSON.parse(readFileSync(join(output, 'report.json'), 'utf8')).tuning

describe.each(['omniquant', 'aqlm'])('killed while %s trains', (name) => {
  test('and at every step of the disk, the run goes on to the same bytes and the same losses', async () => {
    const whole = optionsOf(name)
    const steps: StepName[] = []
    setDisk(stoppingDisk(Number.POSITIVE_INFINITY, steps))
    await compress(whole)
    expect(tuningOf(whole.output)).toHaveLength(2)
    for (let stop = 1; stop < steps.length; stop += 9) {
      const asked = optionsOf(name)
      setDisk(stoppingDisk(stop))
      await killed(compress(asked), `step ${stop}`)
      setDisk(systemDisk)
      await compress(asked)
      const when = `killed at step ${stop}, ${steps[stop]}`
      expect(modelOf(asked.output), when).toEqual(modelOf(whole.output))
      expect(tuningOf(asked.output), when).toEqual(tuningOf(whole.output))
      expect(readdirSync(join(asked.output, '..')), when).toEqual(['out'])
    }
  })
})

describe('a journal of a trained stage', () => {
  let left: CompressOptions
  beforeAll(async () => {
    left = optionsOf('aqlm')
    setDisk(diskUntil('stage'))
    await killed(compress(left), 'the run')
    setDisk(systemDisk)
  })
  const path = (output: string) => join(output, '.pare/journal.jsonl')
  /** The same run with another line for its first stage. */
  async function changed(change: (tuning: Tuning) => unknown): Promise<unknown> {
    const output = join(folder, `changed-${++count}`)
    cpSync(left.output, output, { recursive: true })
    const [first, second] = readFileSync(path(output), 'utf8').split('\n')
    const stage = JSON.parse(second!)
    stage.tuning = change(stage.tuning)
    writeFileSync(path(output), `${first}\n${JSON.stringify(stage)}\n`)
    return compress({ ...left, output })
  }
  interface Tuning {
    losses: unknown[]
    kept: number
    floats: { name: string; values: { sha256: string } }[]
  }

  test('as it was written goes on', async () => {
    await expect(changed((tuning) => tuning)).resolves.toMatchObject({ target: 'pare' })
  })
  test.each([
    [
      'a float that the model does not have',
      (t: Tuning) => ({ ...t, floats: [{ ...t.floats[0]!, name: 'x' }] }),
    ],
    ['a name of all objects', (t: Tuning) => ({ ...t, floats: [{ ...t.floats[0]!, name: '__proto__' }] })],
    [
      'a matrix for a float',
      (t: Tuning) => ({ ...t, floats: [{ ...t.floats[0]!, name: 'model.layers.0.mlp.up_proj.weight' }] }),
    ],
    ['a float twice', (t: Tuning) => ({ ...t, floats: [...t.floats, t.floats[0]!] })],
    [
      'a float that is not in the shard',
      (t: Tuning) => ({ ...t, floats: [{ ...t.floats[0]!, name: 'model.norm.weight' }] }),
    ],
    ['a pass that there was not', (t: Tuning) => ({ ...t, kept: t.losses.length })],
    ['no losses', (t: Tuning) => ({ ...t, losses: [], kept: 0 })],
    ['a loss that is no number', (t: Tuning) => ({ ...t, losses: [null] })],
    ['more than is known of', (t: Tuning) => ({ ...t, more: 1 })],
  ])('with %s is refused', async (_, change) => {
    await expect(changed(change)).rejects.toThrow(StateError)
  })
})
