import { tmpdir } from 'node:os'
import { describe, expect, test } from 'vitest'
import { encoderWalk } from '../calibrate/encoder_walk.ts'
import { openEncoder } from '../models/bert/fixtures.suite.ts'
import { distance, type FixtureName, numbers, openFixture } from '../models/llama/fixtures.suite.ts'
import { Llama } from '../models/llama/llama.ts'
import { memoryWeights } from '../models/memory_weights.ts'
import type { ModelWeights } from '../models/model_weights.ts'
import { scalingNames } from '../models/scaling_groups.ts'
import { runStage } from '../models/stage.ts'
import { weightsIn } from '../models/weights_in.ts'
import { affineGrid } from '../nn/grid.ts'
import { AbortError, NumericalError, OptionError } from '../tensor/errors.ts'
import { randomStream, scope, tensor } from '../tensor/index.ts'
import { type AwqOptions, awq } from './awq.ts'
import { editedWeights } from './edited_weights.suite.ts'
import { spread } from './search_inputs.ts'

const samples = Array.from({ length: 6 }, (_, i) =>
  Uint32Array.from({ length: 16 }, (_, j) => (i * 37 + j * j * 5) % 30),
)
const grid = () => affineGrid({ bits: 3, groupSize: 16 })
const run = (model: Llama, options: Partial<AwqOptions> = {}) =>
  awq(model, samples, { grid, gridPoints: 5, searchTokens: 64, clipTokens: 32, ...options })

/** A model on an open fixture, whose norms, v and up have outlier channels, so that scales are worth it. */
async function withModel<T>(
  name: FixtureName,
  body: (model: Llama) => T | Promise<T>,
  { biases = false } = {},
): Promise<T> {
  const open = openFixture(name)
  try {
    const config = { ...open.model.config, attentionBias: biases || open.model.config.attentionBias }
    const planted = new Map(
      [...open.weights.infos.keys()].map((name) => {
        const weight = open.weights.load(name)
        const [rows, isMatrix] = [weight.extent(0), weight.rank === 2]
        if (!/_layernorm|\.(v|up)_proj/.test(name)) return [name, weight]
        return [name, weight.mul(outliers(rows).reshape(isMatrix ? [rows, 1] : [rows]))]
      }),
    )
    if (biases)
      for (const [name, { shape }] of open.weights.infos)
        if (/[qkv]_proj/.test(name))
          planted.set(name.replace('weight', 'bias'), randomStream(3, name).normal([shape[0]!]))
    return await body(new Llama(config, memoryWeights(planted)))
  } finally {
    open.close()
  }
}
const outliers = (size: number) =>
  tensor(
    Float32Array.from({ length: size }, (_, i) => (i % 13 === 4 ? 12 : 1)),
    [size],
  )
const logits = (config: Llama['config'], weights: ModelWeights, ids = samples[0]!) =>
  scope(() => numbers(new Llama(config, weights).load().forward(ids)))

describe.each([
  { name: 'llama-untied', biases: false, title: 'as many value heads as query heads' },
  { name: 'llama-untied', biases: true, title: 'the same with biases' },
  { name: 'llama-tied', biases: false, title: 'fewer value heads, embedding and head tied' },
  { name: 'qwen2', biases: false, title: 'fewer value heads, with biases' },
  { name: 'mistral', biases: false, title: 'a sliding window' },
] as const)('$title', ({ name, biases }) => {
  test('scales alone leave the logits of the whole model as they are, to 1e-5 in f32', async () => {
    await withModel(
      name,
      async (model) => {
        const { edits, groups } = await run(model, { clip: false })
        for (const { exponent } of groups.slice(0, 4)) expect(exponent).toBeGreaterThan(0)
        const { config, weights } = model
        const after = scope(() => logits(config, editedWeights(weights, edits)))
        expect(distance(after, logits(config, weights))).toBeLessThan(1e-5)
      },
      { biases },
    )
  })
  test('and the outputs of every block, to 1e-12 in f64', async () => {
    await withModel(
      name,
      async ({ config, weights }) => {
        const wide = weightsIn('f64', weights)
        const model = new Llama(config, wide)
        const { edits } = await run(model, { clip: false })
        const changed = scope(() => {
          const scaled = new Llama(config, editedWeights(wide, edits))
          const hidden = randomStream(1, 'hidden').normal([2, 7, config.hidden], 'f64')
          return model.stages.map((plan, i) => {
            const [before, after] = [plan, scaled.stages[i]!].map((each) =>
              numbers(runStage(each.load(), hidden, model.context(7))),
            )
            return distance(after!, before!)
          })
        })
        expect(changed.length).toBeGreaterThan(0)
        for (const difference of changed) expect(difference).toBeLessThan(1e-12)
        expect(edits.size).toBeGreaterThan(0)
      },
      { biases },
    )
  })
})

test('v and o share scales only where each query head has a value head of its own; biases go along', async () => {
  const groupsOf = (name: FixtureName) =>
    withModel(name, async (model) => (await run(model)).groups.map(({ weights }) => weights))
  const names = (await groupsOf('llama-untied')).map((weights) =>
    weights.map((weight) => weight.split('.').at(-2)),
  )
  expect(names.slice(0, 4)).toEqual([
    ['q_proj', 'k_proj', 'v_proj'],
    ['o_proj'],
    ['gate_proj', 'up_proj'],
    ['down_proj'],
  ])
  expect((await groupsOf('qwen2')).flat().some((weight) => weight.includes('o_proj'))).toBe(false)
  await withModel(
    'llama-untied',
    async (model) => {
      const { edits } = await run(model)
      const scaled = [...edits.keys()].filter((name) => /v_proj.bias/.test(name))
      expect(scaled.length).toBeGreaterThan(0)
    },
    { biases: true },
  )
})
test('no loss is above that of rounding alone, and r = 0 changes nothing', async () => {
  await withModel('llama-untied', async (model) => {
    const { groups } = await run(model)
    for (const { loss, lossOfRounding } of groups) expect(loss).toBeLessThanOrEqual(lossOfRounding)
    const { edits } = await run(model, { gridPoints: 1, clip: false })
    expect(edits.size).toBe(0)
  })
})
test('bounds come behind scales, for all weights but q and k', async () => {
  await withModel('llama-tied', async (model) => {
    const { edits } = await run(model)
    const clamped = [...edits].filter(([, own]) => own.some(({ kind }) => kind === 'clamp'))
    expect(clamped.length).toBeGreaterThan(0)
    for (const [name, own] of clamped) {
      expect(own.at(-1)!.kind).toBe('clamp')
      expect(name).not.toMatch(/[qk]_proj/)
    }
    expect(clamped.some(([name]) => /o_proj/.test(name))).toBe(true)
  })
})
test('every tensor with edits is one of those that headers tell', async () => {
  for (const name of ['llama-untied', 'qwen2'] as const)
    await withModel(
      name,
      async (model) => {
        const known = scalingNames({ family: 'llama', model }, 'awq')
        const names = known.flatMap(({ divided, weights }) => [...divided, ...weights])
        const { edits } = await run(model)
        const others = [...edits].filter(([tensor]) => !names.includes(tensor))
        // Bounds alone: o shares no scales with v.
        for (const [, own] of others) expect(own.map(({ kind }) => kind)).toEqual(['clamp'])
        expect(edits.size).toBeGreaterThan(others.length)
      },
      { biases: name === 'llama-untied' },
    )
})
test('weights that stay as they are get no bounds; where no weight of a group is rounded, no scales', async () => {
  await withModel('llama-tied', async (model) => {
    const { edits, groups } = await run(model, {
      grid: (name) => (/mlp/.test(name) ? undefined : affineGrid({ bits: 3, groupSize: 16 })),
    })
    expect(groups.flatMap(({ weights }) => weights).some((name) => /mlp/.test(name))).toBe(false)
    expect([...edits.keys()].some((name) => /mlp|post_attention/.test(name))).toBe(false)
  })
})
test('activations in a file give the same edits, and so do batches of another size', async () => {
  await withModel('llama-untied', async (model) => {
    const { edits } = await run(model)
    expect((await run(model, { memoryLimit: 0, scratch: tmpdir() })).edits).toEqual(edits)
    // Sums of |x| have another order, so that scales may differ in their last bits.
    const other = await run(model, { batchTokens: 16 })
    expect([...other.edits.keys()]).toEqual([...edits.keys()])
  })
})
test('fewer tokens than the search takes are all taken, with a note', async () => {
  await withModel('llama-tied', async (model) => {
    const { notes, groups } = await awq(model, [Uint32Array.of(1, 2, 3)], { grid, gridPoints: 2 })
    expect(notes).toContain('only 3 tokens, where the search takes 2048')
    expect(groups.length).toBeGreaterThan(0)
    expect((await awq(model, [Uint32Array.of(5)], { grid, gridPoints: 2 })).groups).toHaveLength(
      groups.length,
    )
  })
})
test('a width that no group divides ends with a shorter group', async () => {
  await withModel('llama-tied', async (model) => {
    const { edits } = await run(model, { grid: () => affineGrid({ bits: 3, groupSize: 7 }) })
    for (const [name, own] of edits)
      for (const edit of own)
        if (edit.kind === 'clamp') {
          const [rows, columns] = model.weights.infos.get(name)!.shape as [number, number]
          expect(edit.bounds.length).toBe(rows * Math.ceil(columns / 7))
        }
  })
})
test('inputs that are always 0 are named, and everything stays finite', async () => {
  await withModel('llama-tied', async ({ config, weights }) => {
    const dead = new Map([...weights.infos.keys()].map((name) => [name, weights.load(name)]))
    const name = 'model.layers.0.input_layernorm.weight'
    const kept = Float32Array.from({ length: config.hidden }, (_, i) => (i === 2 ? 0 : 1))
    dead.set(name, weights.load(name).mul(tensor(kept, [config.hidden])))
    const { edits, notes } = await run(new Llama(config, memoryWeights(dead)))
    expect(notes).toContain('model.layers.0.self_attn.q_proj.weight: 1 inputs are always 0')
    for (const own of edits.values())
      for (const edit of own) if ('by' in edit) expect(edit.by.every(Number.isFinite)).toBe(true)
  })
})
test('activations that are not finite stop the search with the name of the weight', async () => {
  await withModel('llama-tied', async ({ config, weights }) => {
    const damaged = new Map([...weights.infos.keys()].map((name) => [name, weights.load(name)]))
    const name = 'model.layers.0.post_attention_layernorm.weight'
    damaged.set(name, tensor(new Float32Array(config.hidden).fill(Number.NaN), [config.hidden]))
    const failing = run(new Llama(config, memoryWeights(damaged)))
    await expect(failing).rejects.toThrow(NumericalError)
    await expect(failing).rejects.toThrow(/mlp\.gate_proj\.weight: input 0 is NaN/)
  })
})
test('an encoder, whose norms feed the residual too, is refused with another way', async () => {
  const open = openEncoder('bert-sentence')
  try {
    const failing = awq(encoderWalk(open.model), samples.slice(0, 1), { grid })
    await expect(failing).rejects.toThrow(OptionError)
    await expect(failing).rejects.toThrow(/awq scales.*feed its residual too; choose/)
  } finally {
    open.close()
  }
})
test('impossible options are refused before the model is read', async () => {
  const never = {} as never
  for (const options of [{ gridPoints: 0 }, { gridPoints: 1.5 }, { searchTokens: 0 }, { clipTokens: -1 }])
    await expect(awq(never, samples, { grid, ...options })).rejects.toThrow(OptionError)
})
test('a signal stops it between two candidates', async () => {
  await withModel('llama-tied', async (model) => {
    const stop = new AbortController()
    let calls = 0
    const progress = (_: number, share: number) => {
      expect(share).toBeGreaterThan(0)
      if (share > 0.5) {
        calls++
        stop.abort()
      }
    }
    await expect(run(model, { signal: stop.signal, progress })).rejects.toThrow(AbortError)
    expect(calls).toBe(1)
  })
})
test('picked places rise, one in each of equal parts, and are all where there are no more', () => {
  expect([...spread(5, 5, 0, 'tokens')]).toEqual([0, 1, 2, 3, 4])
  const places = [...spread(103, 10, 1, 'tokens')]
  for (const [i, place] of places.entries()) {
    expect(place).toBeGreaterThanOrEqual(Math.floor(i * 10.3))
    expect(place).toBeLessThan(Math.floor((i + 1) * 10.3))
  }
})
