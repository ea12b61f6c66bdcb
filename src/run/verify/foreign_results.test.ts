/** Results whose report cannot be trusted, or that have none. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type FixtureName, fixturePath } from '../../models/llama/fixtures.suite.ts'
import { FormatError } from '../../tensor/errors.ts'
import {
  changeTensor,
  edit,
  failedOf,
  faultsOf,
  q,
  type ResultName,
  source,
  statuses,
  verifiedResults,
} from './verified_results.suite.ts'
import { verify } from './verify.ts'
import { verificationLines, verifyResult } from './verify_result.ts'

const { folder, damaged } = verifiedResults()

describe('a report that is hostile', () => {
  const withReport = (change: (report: Record<string, unknown>) => void) =>
    damaged(
      'pare',
      edit('report.json', (text) => {
        const report = JSON.parse(text)
        change(report)
        return JSON.stringify(report)
      }),
    )
  test('with names outside of the folder fails, and nothing there is read', async () => {
    const path = withReport((report) => {
      report.files = ['../../../../etc/passwd', 'a\u001b[31m', '..']
    })
    const found = await verify({ path })
    expect(faultsOf(found, 'files')).toContain('../../../../etc/passwd: is no name of a file in the folder')
    expect(verificationLines(found).join('\n')).not.toMatch(/\u001b/)
  })
  test('whose record is damaged fails the check of files, and the rest needs a source', async () => {
    for (const verification of [{ record: { texts: 'many' } }, { record: null }, 7])
      expect(
        failedOf(await verify({ path: withReport((report) => Object.assign(report, { verification })) })),
      ).toEqual(['files'])
    const path = damaged(
      'pare',
      edit('report.json', () => '{"not": "a report"}'),
    )
    expect(failedOf(await verify({ path }))).toEqual(['files'])
  })
  test('that names tokens outside of the vocabulary fails the check of logits', async () => {
    const path = withReport((report) => {
      const { logits } = (report.verification as { record: { logits: { ids: number[] } } }).record
      logits.ids[0] = 4_000_000_000
    })
    expect(failedOf(await verify({ path }))).toEqual(['logits'])
  })
})

describe('folders that another program wrote', () => {
  const foreign = (of: ResultName, change: (path: string) => void = () => {}) =>
    damaged(of, (copy) => {
      rmSync(join(copy, 'report.json'))
      change(copy)
    })
  test.each(['pare', 'gptq', 'gguf'] as const)(
    '%s passes by its distance from the source',
    async (target) => {
      const found = await verify({ path: foreign(target), source })
      expect(failedOf(found), verificationLines(found).join('\n')).toEqual([])
      expect(statuses(found)).toMatchObject({ weights: 'passed', logits: 'passed' })
      const { facts } = found.checks.find(({ name }) => name === 'weights')!
      expect(facts.farthest).toBeGreaterThan(0)
    },
  )
  test('rows in another order are farther from the source than rounding', async () => {
    const reverse = (bytes: Buffer, [rows = 1]: readonly number[]) => {
      const size = bytes.length / rows
      const before = Buffer.from(bytes)
      for (let row = 0; row < rows; row++)
        before.copy(bytes, (rows - 1 - row) * size, row * size, (row + 1) * size)
    }
    const path = foreign('pare', changeTensor(`${q}.weight.codes`, reverse))
    expect(faultsOf(await verify({ path, source }), 'weights')).toMatch(
      /^model\.layers\.0\.self_attn\.q_proj\.weight: is 1\d\d% from the source, 4 bits allow 50/,
    )
  })
  const same: FixtureName[] = ['llama-f16.gguf', 'ct-sparse-bitmask', 'aqlm-2x8', 'qwen2']
  test.each(same)('%s is equal to itself', async (name) => {
    const found = await verify({ path: fixturePath(name), source: fixturePath(name) })
    expect(statuses(found).weights, verificationLines(found).join('\n')).toBe('passed')
    expect(found.checks.find(({ name }) => name === 'weights')!.text).toContain(
      'equal to the source bit for bit',
    )
  })
  test('another model of the same shapes fails weights and logits', async () => {
    const found = await verify({ path: fixturePath('llama-gptq-4'), source: fixturePath('ct-group-4') })
    expect(failedOf(found)).toEqual(['weights', 'logits'])
    expect(faultsOf(found, 'weights')).toMatch(/q_proj\.weight: is .* from the source, 4 bits allow 50/)
  })
  test('a model of other shapes fails the configuration, and its logits are not compared', async () => {
    const found = await verify({ path: fixturePath('llama-untied'), source })
    expect(failedOf(found)).toEqual(expect.arrayContaining(['weights', 'configuration']))
    expect(statuses(found).logits).toBe('skipped')
  })
  test('a text encoder is compared by its vectors', async () => {
    const path = fixturePath('bert-sentence' as FixtureName)
    const found = await verify({ path, source: path })
    expect(found.passed, verificationLines(found).join('\n')).toBe(true)
    expect(found.checks.find(({ name }) => name === 'logits')!.facts.cosine).toBeCloseTo(1, 6)
    const other = await verify({ path, source })
    expect(failedOf(other)).toContain('configuration')
  })
})
test('verifyResult throws where there is no model', async () => {
  await expect(verifyResult({ path: folder })).rejects.toBeInstanceOf(FormatError)
})
