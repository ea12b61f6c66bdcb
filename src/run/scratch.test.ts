import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { compress } from './compress.ts'

/** The folders that sets of activations are told to use; a tiny model fits in memory. */
const { told } = vi.hoisted(() => ({ told: [] as (string | undefined)[] }))
vi.mock('../models/activations.ts', async (original) => {
  const { ActivationSet, ...rest } = await original<typeof import('../models/activations.ts')>()
  class Observed extends ActivationSet {
    constructor(options: ConstructorParameters<typeof ActivationSet>[0]) {
      super(options)
      told.push(options?.scratch)
    }
  }
  return { ...rest, ActivationSet: Observed }
})

const folder = mkdtempSync(join(tmpdir(), 'scratch-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('activations of the calibration and of the evaluation go to the scratch folder, else into the folder of the run', async () => {
  const source = fixturePath('llama-f16.gguf')
  // The tokenizer of the fixture knows lower-case letters and blanks.
  const text = join(folder, 'text.txt')
  writeFileSync(text, 'the quick brown fox '.repeat(50))
  const scratch = join(folder, 'scratch')
  mkdirSync(scratch)
  writeFileSync(join(scratch, 'mine'), '')
  const output = join(folder, 'deep', 'out')
  const brief = {
    calibration: [text],
    text: [text],
    samples: 2,
    length: 32,
    context: 32,
    windows: 1,
    overwrite: true,
  }
  for (const [given, expected] of [
    [{ scratch }, scratch],
    // What round to nearest is evaluated with lies in the folder of its own run.
    [{}, join(output, '.pare')],
  ] as const) {
    told.length = 0
    await compress({ source, output, target: 'pare', groupSize: 10, ...brief, ...given })
    // One set for the calibration; one for each of the two models of the evaluation.
    expect(told.length).toBeGreaterThanOrEqual(3)
    expect(
      new Set(told.map((folder) => folder?.replace(join('/.pare', 'baseline', '.pare'), '/.pare'))),
    ).toEqual(new Set([expected]))
  }
  expect(existsSync(join(scratch, 'mine'))).toBe(true)
})
