import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encoderPath } from '../models/bert/fixtures.suite.ts'
import { distance, fixturePath } from '../models/llama/fixtures.suite.ts'
import { OptionError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { compressions, logitsOf } from './compressions.suite.ts'
import { plan } from './plan.ts'

const { options } = compressions()
const source = fixturePath('llama-f16.gguf')
const ids = Uint32Array.of(1, 5, 9, 2, 7, 3, 11, 4)

const run = (asked: Partial<CompressOptions>) => compress(options({ source, baselines: false, ...asked }))

describe.each<[string, Partial<CompressOptions>]>([
  ['awq', { method: 'awq', clip: false, gridPoints: 4 }],
  ['smoothquant', { method: 'smoothquant', alpha: 0.8 }],
])('%s', (method, own) => {
  test('rounds to nearest behind it, and at 8 bits the model computes what its source does', async () => {
    const report = await run({ ...own, bits: 8, groupSize: 16 })
    expect(report.method).toBe(`${method}+rtn`)
    // Rounding to 8 bits alone is as far, see the bounds of src/run/verify/bounds.ts.
    expect(distance(logitsOf(report.output, ids), logitsOf(source, ids))).toBeLessThan(0.03)
  })
  test('the plan has the bytes of the result', async () => {
    const asked = { ...own, bits: 4, groupSize: 16 } as const
    const planned = await plan(options({ source, baselines: false, ...asked }))
    expect((await run(asked)).bytes).toBe(planned.bytes)
  })
  test('a text encoder is refused by the plan', async () => {
    const encoder = options({ source: encoderPath('bert-sentence'), method: method as 'awq' })
    await expect(plan(encoder)).rejects.toThrow(OptionError)
    await expect(plan(encoder)).rejects.toThrow(/feed its residual too; choose another method/)
  })
})

describe('awq', () => {
  test('stands before gptq, with options of each', async () => {
    const report = await run({
      steps: [
        { method: 'awq', gridPoints: 4, searchTokens: 64, clipTokens: 32 },
        { method: 'gptq', bits: 3, groupSize: 16 },
      ],
    })
    expect(report.method).toBe('awq+gptq')
    const [transform] = report.transforms ?? []
    expect(transform?.notes.join()).toMatch(
      /^scales for \d+ of \d+ groups of weights, whose modules have [01]\.\d+ of the error/,
    )
    expect(transform?.notes.join()).not.toContain('NaN')
  })
  test('scales for block types of GGUF files too', async () => {
    const report = await run({ method: 'awq', gridPoints: 4, target: 'gguf', scheme: 'Q4_0' })
    const file = report.files.find((name) => name.endsWith('.gguf'))!
    expect(distance(logitsOf(join(report.output, file), ids), logitsOf(source, ids))).toBeLessThan(0.5)
  })
  test('is refused before a step that rounds to no grid', async () => {
    const failing = run({ steps: [{ method: 'awq' }, { method: 'spqr' }] })
    await expect(failing).rejects.toThrow(OptionError)
    await expect(failing).rejects.toThrow(/put rtn, gptq, obq or omniquant behind it/)
  })
  test('says of a short text that there are fewer tokens than it takes', async () => {
    const report = await run({ method: 'awq', gridPoints: 2, bits: 4, groupSize: 16 })
    expect(report.transforms?.[0]?.notes.some((note) => /only \d+ tokens, where/.test(note))).toBe(true)
  })
})
