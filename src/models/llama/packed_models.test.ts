/** Models whose matrices stay packed, beside the same with all numbers in memory. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sitesOf } from '../../nn/sites.ts'
import { storedOf } from '../../nn/values/stored_words.ts'
import { currentKernels, dispose, scope, type Tensor } from '../../tensor/index.ts'
import { GrowingCache } from '../key_value_cache.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { planGguf } from '../write/gguf_target.ts'
import { writeAll, writeWideModel } from '../write/sources.suite.ts'
import { ggufSource } from '../write/target.ts'
import { distance, folders, numbers, openFixture } from './fixtures.suite.ts'
import { hiddenStates } from './several_sequences.ts'

const ids = Uint32Array.from({ length: 20 }, (_, i) => 3 + ((7 * i) % 29))

/** Largest difference of logits over the largest logit: floats, then int8. */
function distances({ model }: OpenLanguageModel): [number, number] {
  const logits = (load: () => ReturnType<typeof model.load>) => scope(() => numbers(scope(load).forward(ids)))
  const whole = logits(() => model.load())
  return (['f32', 'int8'] as const).map((activations) =>
    distance(
      logits(() => model.loadPacked(activations)),
      whole,
    ),
  ) as [number, number]
}

describe.each(folders)('%s', (name) => {
  test('packed weights give the logits of their numbers, and int8 those of inputs a little off', () => {
    const open = openFixture(name)
    const [floats, codes] = distances(open)
    open.close()
    expect(floats).toBeLessThan(1e-5)
    expect(codes).toBeLessThan(0.05)
  })
})

describe.each(folders)('%s', (name) => {
  test('a block in one call has the bits of its segments: pieces of a text, tokens, several texts at once', () => {
    const open = openFixture(name)
    for (const activations of ['f32', 'int8'] as const)
      scope(() => {
        const resident = open.model.loadPacked(activations)
        const blocks = open.model.config.layers.length
        const found = [false, true].map((looksInside) => {
          // A hook that changes nothing makes the segments run.
          const at = looksInside ? { at: sitesOf({ 'block.0/input': (x: Tensor) => x }) } : {}
          const cache = new GrowingCache(blocks)
          const logits = [ids.subarray(0, 5), ids.subarray(5, 6), ids.subarray(6)].flatMap((piece) =>
            scope(() => numbers(resident.forward(piece, { cache, ...at }))),
          )
          cache.dispose()
          return logits
        })
        expect(found[0]).toEqual(found[1])
        // Dense products of few rows have bits of their own.
        if (!resident.layers.every(({ source }) => storedOf(source))) return
        const caches = [3, 1, 7].map(() => new GrowingCache(blocks))
        const together = [3, 1, 7].map((length, i) => ({
          ids: ids.subarray(i, i + length),
          cache: caches[i]!,
        }))
        const states = scope(() => numbers(hiddenStates(resident, together, 1)))
        const alone = together.flatMap(({ ids }) => {
          const cache = new GrowingCache(blocks)
          const own = scope(() => numbers(hiddenStates(resident, [{ ids, cache }], 1)))
          cache.dispose()
          return own
        })
        for (const cache of caches) cache.dispose()
        expect(states).toEqual(alone)
      })
    open.close()
  })
})

test.each(['llama-gptq-4', 'gptq-dynamic', 'awq'] as const)(
  '%s: while it loads, the codes that one matrix was packed from go before the next is read',
  (name) => {
    const open = openFixture(name)
    const kernels = currentKernels()
    kernels.resetPeak()
    const resident = scope(() => open.model.loadPacked('int8'))
    const { peak, live } = kernels.memory()
    const largest = Math.max(...resident.layers.map(({ source: { shape } }) => shape[0] * shape[1]))
    expect(peak - live).toBeLessThan(4 * largest)
    dispose(resident)
    open.close()
  },
)

describe('a GGUF file', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'packed-models-test-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))
  const written = (scheme: 'Q8_0' | 'Q4_0' | 'Q4_K_M' | 'Q3_K_S') => {
    const target = mkdtempSync(join(folder, 'gguf-'))
    const wide = openLanguageModel(writeWideModel(`${target}-wide`))
    writeAll(wide, planGguf(ggufSource(wide), { scheme, fileName: 'wide' }), {}, target)
    wide.close()
    return openLanguageModel(join(target, readdirSync(target)[0]!))
  }
  test.each(['Q8_0', 'Q4_0', 'Q4_K_M', 'Q3_K_S'] as const)(
    'in %s gives the same logits, and int8 ones near',
    (scheme) => {
      const open = written(scheme)
      const [floats, codes] = distances(open)
      open.close()
      expect(floats).toBeLessThan(1e-5)
      expect(codes).toBeLessThan(0.05)
    },
  )
  test('takes less memory packed, continues with a cache, and leaves nothing behind', () => {
    const open = written('Q4_0')
    const before = currentKernels().memory()
    const bytes = (load: () => ReturnType<typeof open.model.load>) => {
      const resident = scope(load)
      const used = currentKernels().memory().live - before.live
      const cache = new GrowingCache(open.model.config.layers.length)
      const whole = scope(() => numbers(resident.forward(ids)))
      const vocabulary = whole.length / ids.length
      scope(() => void resident.forward(ids.subarray(0, 19), { cache }))
      const last = scope(() => numbers(resident.forward(ids.subarray(19), { cache })))
      expect(distance(last, whole.slice(19 * vocabulary))).toBeLessThan(1e-5)
      cache.dispose()
      dispose(resident)
      return used
    }
    expect(bytes(() => open.model.loadPacked('int8'))).toBeLessThan(0.3 * bytes(() => open.model.load()))
    expect(currentKernels().memory().tensors).toBe(before.tensors)
    open.close()
  })
})
