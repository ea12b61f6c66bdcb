import { tmpdir } from 'node:os'
import { describe, expect, test } from 'vitest'
import { expectedOf, numbers, openFixture, withFixture } from '../models/llama/fixtures.suite.ts'
import type { Segment, Stage, StagePlan } from '../models/stage.ts'
import { Linear } from '../nn/linear.ts'
import { sitesOf } from '../nn/sites.ts'
import { denseSource } from '../nn/weight_source.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { currentKernels, type Tensor, tensor } from '../tensor/index.ts'
import { type WalkModel, type WalkOptions, type WalkVisitor, walk } from './walk.ts'

/** A stage of two scalar weights: mid = a x, out = x + b mid. */
function scalarStage(index: number, a: number, b: number): StagePlan {
  const name = (part: string) => `${index}.${part}`
  return {
    name: `stage.${index}`,
    weights: [name('a'), name('b')],
    load(): Stage {
      const linear = (part: string, weight: number) =>
        new Linear(name(part), denseSource(tensor([weight], [1, 1])))
      const [first, second] = [linear('a', a), linear('b', b)]
      const segments: Segment[] = [
        {
          linears: [first],
          input: ({ hidden }) => hidden!,
          run: ({ hidden }, x) => ({ hidden: hidden!, mid: first.forward(x) }),
        },
        {
          linears: [second],
          input: ({ mid }) => mid!,
          run: ({ hidden }, x) => ({ hidden: hidden!.add(second.forward(x)) }),
        },
      ]
      return { segments, resources: () => [first, second] }
    },
  }
}

/**
 * Two stages, every id embedded as its own number. Dense, h becomes h + 3 * 2h = 7h and then 14h; with halved
 * weights h + 1.5 * h = 2.5h and then (1 + 0.25) 2.5h = 3.125h.
 */
const model: WalkModel = {
  stages: [scalarStage(0, 2, 3), scalarStage(1, 1, 1)],
  embed: (ids) => tensor([...ids], [ids.length, 1]),
  context: () => ({ rotary: { cos: tensor([1]), sin: tensor([0]) } }),
}
const samples = [Uint32Array.of(1), Uint32Array.of(2, 4)]

/** Records what is seen and halves every weight. */
function halving(extra: WalkVisitor = {}) {
  const seen: Record<string, number[]> = {}
  const events: string[] = []
  const visitor: WalkVisitor = {
    beginStage: ({ name }) => void events.push(`begin ${name}`),
    observe(linears, x) {
      const name = linears[0]!.name
      seen[name] = [...(seen[name] ?? []), ...numbers(x)]
      events.push(`observe ${name}`)
    },
    compress(linears) {
      for (const linear of linears) linear.source = denseSource(linear.source.dense().mul(0.5))
      events.push(`compress ${linears[0]!.name}`)
    },
    endStage: ({ name }) => void events.push(`end ${name}`),
    ...extra,
  }
  return { seen, events, visitor }
}

const times = (factor: number) => [factor, 2 * factor, 4 * factor]

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

describe('training a stage', () => {
  /** Inputs and targets of each stage as `tune` gets them. */
  async function tuned(options: Partial<WalkOptions>, change?: (stage: Stage) => void) {
    const found: { inputs: number[]; targets: number[] }[] = []
    const { seen, visitor } = halving({
      tune(stage, { count, input, target, context }) {
        const all = (of: (sample: number) => Tensor) =>
          Array.from({ length: count }, (_, i) => numbers(of(i))).flat()
        expect(context(1).rotary).toBeDefined()
        found.push({ inputs: all(input), targets: all(target) })
        change?.(stage)
      },
    })
    await walk({ model, samples, visitor, ...options })
    return { found, seen }
  }
  const arrangements = [{ groups: 'ordered' }, { groups: 'stage' }] as const

  test.each(arrangements)(
    '$groups: dense targets are the outputs of the source model',
    async ({ groups }) => {
      const { found } = await tuned({ groups, target: 'dense' })
      expect(found).toEqual([
        { inputs: times(1), targets: times(7) },
        { inputs: times(2.5), targets: times(14) },
      ])
    },
  )
  test.each(arrangements)(
    '$groups: the dense stage on current inputs may be the target',
    async ({ groups }) => {
      const { found } = await tuned({ groups, target: 'denseOnCurrent' })
      expect(found).toEqual([
        { inputs: times(1), targets: times(7) },
        { inputs: times(2.5), targets: times(5) },
      ])
    },
  )
  test.each(arrangements)('$groups: what tune changes is what the next stage gets', async ({ groups }) => {
    // With a = 1 a second weight of 6 repairs the stage: h + 6h = 7h.
    const repair = (stage: Stage) => {
      const [linear] = stage.segments[1]!.linears
      if (linear!.name === '0.b') linear!.source = denseSource(tensor([6], [1, 1]))
    }
    const { found, seen } = await tuned({ groups, target: 'dense' }, repair)
    expect(found[1]!.inputs).toEqual(times(7))
    expect(seen['1.a']).toEqual(times(7))
  })
  test('observed on the dense chain, tune still gets inputs of the current one', async () => {
    const { found, seen } = await tuned({ observed: 'dense', target: 'dense' })
    expect(seen['1.a']).toEqual(times(7))
    expect(found.map(({ inputs }) => inputs)).toEqual([times(1), times(2.5)])
  })
  test('observed on the dense chain, the dense stage on current inputs may still be the target', async () => {
    const { found } = await tuned({ observed: 'dense', target: 'denseOnCurrent' })
    expect(found.map(({ targets }) => targets)).toEqual([times(7), times(5)])
  })
  test('targets that were not asked for are refused', async () => {
    await expect(tuned({})).rejects.toThrow(/targets were not asked for/)
  })
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
