import { tmpdir } from 'node:os'
import { describe, expect, test } from 'vitest'
import { expectedOf, numbers, openFixture, withFixture } from '../models/llama/fixtures.suite.ts'
import { sitesOf } from '../nn/sites.ts'
import { denseSource } from '../nn/weight_source.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { currentKernels, type Tensor } from '../tensor/index.ts'
import { halving, model, samples, times } from './scalar_model.suite.ts'
import { type WalkVisitor, walk } from './walk.ts'

describe('what is observed', () => {
  test('ordered: each group sees inputs that the compressed groups before it made', async () => {
    const { seen, events, visitor } = halving()
    await walk({ model, samples, visitor })
    expect(seen).toEqual({ '0.a': times(1), '0.b': times(1), '1.a': times(2.5), '1.b': times(1.25) })
    expect(events.slice(0, 8)).toEqual([
      'begin stage.0',
      'observe 0.a',
      'observe 0.a',
      'compress 0.a',
      'observe 0.b',
      'observe 0.b',
      'compress 0.b',
      'end stage.0',
    ])
  })
  test('stage: all groups of a stage see its dense weights, the next stage what became of it', async () => {
    const { seen, events, visitor } = halving()
    await walk({ model, samples, visitor, groups: 'stage' })
    expect(seen).toEqual({ '0.a': times(1), '0.b': times(2), '1.a': times(2.5), '1.b': times(2.5) })
    expect(events.slice(0, 8)).toEqual([
      'begin stage.0',
      'observe 0.a',
      'observe 0.b',
      'observe 0.a',
      'observe 0.b',
      'compress 0.a',
      'compress 0.b',
      'end stage.0',
    ])
  })
  test('dense: every group of every stage sees what the source model makes', async () => {
    for (const groups of ['ordered', 'stage'] as const) {
      const { seen, visitor } = halving()
      await walk({ model, samples, visitor, observed: 'dense', groups })
      expect(seen).toEqual({ '0.a': times(1), '0.b': times(2), '1.a': times(7), '1.b': times(7) })
    }
  })
  test('unchanged: each stage runs once, with its own weights, and is seen on the way', async () => {
    const { seen, events, visitor } = halving()
    await walk({ model, samples, visitor, groups: 'unchanged' })
    expect(seen).toEqual({ '0.a': times(1), '0.b': times(2), '1.a': times(7), '1.b': times(7) })
    expect(events.slice(0, 6)).toEqual([
      'begin stage.0',
      'observe 0.a',
      'observe 0.b',
      'observe 0.a',
      'observe 0.b',
      'end stage.0',
    ])
  })
  test.each(['ordered', 'stage'] as const)(
    '%s: activations in a file are those in memory',
    async (groups) => {
      const [kept, spilled] = [halving(), halving()]
      await walk({ model, samples, visitor: kept.visitor, groups, target: 'dense' })
      await walk({
        model,
        samples,
        visitor: spilled.visitor,
        groups,
        target: 'dense',
        memoryLimit: 0,
        scratch: tmpdir(),
      })
      expect(spilled.seen).toEqual(kept.seen)
    },
  )
})

test('each pass begins with the dense model and carries what the visitor kept', async () => {
  const factors = new Map<string, number>()
  const seen: [number, number][] = []
  await walk({
    model,
    samples: [Uint32Array.of(1)],
    passes: 3,
    visitor: {
      observe(linears, x, pass) {
        if (linears[0]!.name === '1.a') seen.push([pass, x.item()])
      },
      compress([linear]) {
        const factor = (factors.get(linear!.name) ?? 1) * 0.5
        factors.set(linear!.name, factor)
        linear!.source = denseSource(linear!.source.dense().mul(factor))
      },
    },
  })
  // 1 + 6 f^2 with f = 1/2, 1/4, 1/8.
  expect(seen).toEqual([
    [0, 2.5],
    [1, 1.375],
    [2, 1.09375],
  ])
})

describe('stopping', () => {
  test.each([
    ['before the first stage', (stop: () => void): WalkVisitor => ({ beginStage: stop })],
    ['between two samples', (stop: () => void): WalkVisitor => ({ observe: stop })],
    ['between two stages', (stop: () => void): WalkVisitor => ({ endStage: stop })],
  ])('%s ends the walk with an AbortError and frees everything', async (_, visitorOf) => {
    const before = currentKernels().memory().tensors
    const controller = new AbortController()
    let ended = 0
    const visitor = { ...visitorOf(() => controller.abort()) }
    const { endStage } = visitor
    visitor.endStage = (...args) => {
      ended += 1
      endStage?.(...args)
    }
    await expect(walk({ model, samples, visitor, signal: controller.signal })).rejects.toThrow(AbortError)
    expect(ended).toBeLessThan(2)
    expect(currentKernels().memory().tensors).toBe(before)
  })
  test('an error of the visitor passes through and frees everything', async () => {
    const before = currentKernels().memory().tensors
    const visitor: WalkVisitor = {
      compress() {
        throw new RangeError('mine')
      },
    }
    await expect(walk({ model, samples, visitor, target: 'dense' })).rejects.toThrow('mine')
    expect(currentKernels().memory().tensors).toBe(before)
  })
  test('a whole walk leaves no tensor behind', async () => {
    const before = currentKernels().memory().tensors
    await walk({ model, samples, visitor: halving().visitor, target: 'denseOnCurrent' })
    expect(currentKernels().memory().tensors).toBe(before)
  })
  test('no samples are refused', async () => {
    await expect(walk({ model, samples: [], visitor: {} })).rejects.toThrow(OptionError)
  })
})

test('progress counts steps over all samples: one observation and one run of each group', async () => {
  const shares: [number, number][] = []
  await walk({
    model,
    samples,
    visitor: halving().visitor,
    progress: (stage, share) => shares.push([stage, share]),
  })
  expect(shares.filter(([stage]) => stage === 0).map(([, share]) => share)).toEqual([0.5, 1, 1.5, 2, 2.5, 3])
})

test.each(['ordered', 'stage'] as const)(
  '%s: where nothing is changed, a model passes through a walk as through a forward, bit for bit',
  async (groups) => {
    const { tokens } = expectedOf('llama-tied')
    const others = tokens.slice(3, 12)
    const sites = ['attn/norm', 'attn/heads', 'mlp/norm', 'mlp/act']
    const expected = withFixture('llama-tied', (resident) => {
      const found: Record<string, number[]> = {}
      const keep = (x: Tensor, site: string): undefined => {
        found[site] = [...(found[site] ?? []), ...numbers(x)]
      }
      const at = sitesOf(
        Object.fromEntries([0, 1].flatMap((i) => sites.map((site) => [`block.${i}/${site}`, keep]))),
      )
      for (const ids of [tokens, others]) resident.forward(ids, { at })
      return found
    })
    const open = openFixture('llama-tied')
    const seen: Record<string, number[]> = {}
    await walk({
      model: open.model,
      samples: [tokens, others],
      groups,
      visitor: {
        observe(linears, x) {
          const [, block, part] = /layers\.(\d)\.\w+\.(\w)/.exec(linears[0]!.name)!
          const site = `block.${block}/${{ q: 'attn/norm', o: 'attn/heads', g: 'mlp/norm', d: 'mlp/act' }[part!]}`
          seen[site] = [...(seen[site] ?? []), ...numbers(x)]
        },
      },
    })
    open.close()
    expect(Object.keys(seen).sort()).toEqual(Object.keys(expected).sort())
    for (const [site, values] of Object.entries(expected)) expect(seen[site]).toEqual(values)
  },
)
