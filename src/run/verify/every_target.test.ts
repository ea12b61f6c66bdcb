import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeWideModel } from '../../models/write/sources.suite.ts'
import { compress } from '../compress.ts'
import type { CompressOptions } from '../compress_options.ts'
import { targetNames, targetOf } from '../targets.ts'
import { verify } from './verify.ts'
import { verificationLines } from './verify_result.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-verify-targets-'))
const source = join(folder, 'wide')
beforeAll(() => void writeWideModel(source))
afterAll(() => rmSync(folder, { recursive: true }))

const choices = targetNames.flatMap((target) =>
  targetOf(target).layouts.map(({ format }) => [target, format] as const),
)
let count = 0

test.each(choices)(
  'a result for %s as %s is what was computed, beside its source and alone',
  async (target, format) => {
    const output = join(folder, `out-${count++}`)
    const several = targetOf(target).layouts.length > 1
    const options: CompressOptions = {
      source,
      output,
      target,
      ...(several ? { format } : {}),
      method: 'rtn',
      evaluate: false,
      probe: false,
    }
    const { verification, layers } = await compress(options)
    const { facts, text } = verification!.checks.find(({ name }) => name === 'weights')!
    expect(layers).toHaveLength(7)
    expect([facts.digests, facts.same], text).toEqual([7, 7])
    for (const options of [{ path: output }, { path: output, source }]) {
      const found = await verify(options)
      expect(found.passed, verificationLines(found).join('\n')).toBe(true)
    }
  },
)
