/** A run in which nothing is pruned gives the source again. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openCompressible } from '../models/load_model.ts'
import { scope } from '../tensor/index.ts'
import { compress } from './compress.ts'
import { smallRun, writeText } from './small_run.suite.ts'
import { digestOf } from './verify/value_digest.ts'

const folder = mkdtempSync(join(tmpdir(), 'nothing-pruned-test-'))
afterAll(() => rmSync(folder, { recursive: true }))
const text = writeText(join(folder, 'text.txt'))

test.each(['magnitude', 'wanda', 'sparsegpt', 'obs'] as const)(
  '%s with a sparsity of 0: the weights and logits of the result are those of the source, bit for bit',
  async (method) => {
    const { bits: _, groupSize: __, ...rest } = smallRun(text, join(folder, method))
    const { kl, top1, layers, output } = await compress({
      ...{ ...rest, target: 'pare', method, sparsity: 0 },
      ...{ evaluate: true, text: [text], windows: 2, context: 32, sideBySide: false },
    })
    expect([kl, top1]).toEqual([0, 1])
    const [result, source] = [openCompressible(output), openCompressible(rest.source as string)]
    for (const { name } of layers)
      scope(() => {
        const [found, wanted] = [result, source].map((open) => digestOf(open.weights.load(name)).sha256)
        expect(found, name).toBe(wanted)
      })
    const logits = [result, source].map((open) =>
      scope(() => {
        if (open.family !== 'llama') throw new Error('no language model')
        return open.model
          .load()
          .forward(Uint32Array.of(1, 5, 9, 3, 12))
          .bytes()
      }),
    )
    expect(logits[0]).toEqual(logits[1])
    result.close()
    source.close()
  },
)
