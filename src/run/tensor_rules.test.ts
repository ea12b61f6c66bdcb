import { describe, expect, test } from 'vitest'
import { blockMatrices, blockName, embeddingName, finalNormName, headName } from '../models/llama/names.ts'
import type { WeightInfo } from '../models/model_weights.ts'
import { OptionError } from '../tensor/errors.ts'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import { type RuledModel, tensorRules } from './tensor_rules.ts'

/** A model of two blocks, known by its names and shapes only. */
const matrices = [0, 1].flatMap((block) => blockMatrices.map((part) => blockName(block, part)))
const info = (name: string, shape: readonly number[]): [string, WeightInfo] => [
  name,
  { name, shape, type: 'F16', bytes: 0 },
]
const model = {
  model: { stages: [{ weights: matrices.slice(0, 7) }, { weights: matrices.slice(7) }] },
  weights: {
    infos: new Map([
      info(embeddingName, [32, 64]),
      ...matrices.map((name) => info(name, [64, 64])),
      info(blockName(0, 'input_layernorm'), [64]),
      info(finalNormName, [64]),
      info(headName, [32, 64]),
    ]),
  },
} as unknown as RuledModel
const rules = (options: Partial<CompressOptions>) =>
  tensorRules(model, resolveOptions({ source: 'm', output: 'o', ...options }))
/** What a tensor gets, in short. */
const choice = (options: Partial<CompressOptions>, name = blockName(0, 'mlp.up_proj')) => {
  const found = rules(options).choices.get(name)
  return (
    found &&
    (found.keep ? 'keep' : (found.scheme ?? [found.grid!.bits, found.grid!.groupSize, found.grid!.symmetric]))
  )
}

test('without rules every linear weight has what its step says, and the rest what its target says', () => {
  expect(choice({ target: 'gguf', scheme: 'Q3_K' })).toBe('Q3_K')
  expect(choice({ bits: 3 })).toEqual([3, 64, false])
  const { choices, rules: none, steps } = rules({})
  expect([...choices.keys()].sort()).toEqual(matrices.toSorted())
  expect([none, steps]).toEqual([[], [{ method: 'gptq', type: '4 bits, groups of 64', weights: 14 }]])
})
describe('overrides', () => {
  test('a later one wins, field by field', () => {
    expect(
      choice({
        overrides: [
          { match: '**', bits: 8, groupSize: 16 },
          { match: 'model.layers.0', groupSize: 'row' },
          { match: 're:up_proj', symmetric: true },
        ],
      }),
    ).toEqual([8, 'row', true])
  })
  test('the fields that none of them has are those of the step', () => {
    expect(
      choice({ bits: 3, groupSize: 32, symmetric: true, overrides: [{ match: '**', bits: 8 }] }),
    ).toEqual([8, 32, true])
  })
  test('of keep, a scheme and levels the last one that is asked for counts', () => {
    const [keep, scheme, bits] = [{ keep: true }, { scheme: 'Q6_K' }, { bits: 8 }].map((what) => ({
      match: '**',
      ...what,
    }))
    expect(choice({ overrides: [scheme!, bits!, keep!] })).toBe('keep')
    expect(choice({ overrides: [keep!, bits!, scheme!] })).toBe('Q6_K')
    expect(choice({ overrides: [scheme!, keep!, bits!] })).toEqual([8, 64, false])
    expect(choice({ overrides: [scheme!, { match: '**', keep: false }] })).toEqual([4, 64, false])
  })
  test('the embedding and the head can be named, norms cannot', () => {
    expect(choice({ overrides: [{ match: 'lm_head', scheme: 'F32' }] }, headName)).toBe('F32')
    expect(choice({ overrides: [{ match: 'model.embed_tokens', bits: 8 }] }, embeddingName)).toEqual([
      8,
      64,
      false,
    ])
    expect(() => rules({ overrides: [{ match: 'model.norm', keep: true }] })).toThrow(
      /^overrides\[0\]: model\.norm matches only tensors that it cannot be for \(1\)/,
    )
  })
})
test('every rule is reported with its matches and two examples, in the order of the recipe', () => {
  const found = rules({
    steps: [{ method: 'rtn' }, { method: 'gptq', bits: 3, only: ['model.layers.*.mlp', 're:1\\.self'] }],
    overrides: [{ match: 'lm_head', scheme: 'Q8_0', at: 'a: b.yaml:3: overrides[0]' }],
  })
  expect(found.rules).toEqual([
    {
      rule: 'steps[1].only',
      match: 'model.layers.*.mlp',
      asks: 'gptq, 3 bits, groups of 64',
      tensors: 6,
      examples: [blockName(0, 'mlp.gate_proj'), blockName(0, 'mlp.up_proj')],
    },
    {
      rule: 'steps[1].only',
      match: 're:1\\.self',
      asks: 'gptq, 3 bits, groups of 64',
      tensors: 4,
      examples: [blockName(1, 'self_attn.q_proj'), blockName(1, 'self_attn.k_proj')],
    },
    { rule: 'overrides[0]', match: 'lm_head', asks: 'Q8_0', tensors: 1, examples: [headName] },
  ])
  expect(found.steps.map(({ weights }) => weights)).toEqual([14, 10])
})
test('a weight that no step takes stays as it is, and is counted', () => {
  const options: Partial<CompressOptions> = { steps: [{ only: ['model.layers.1'] }] }
  expect(rules(options).untouched).toBe(7)
  expect(choice(options)).toBe('keep')
  expect(choice({ ...options, overrides: [{ match: 'model.layers.0', scheme: 'F32' }] })).toBe('F32')
  for (const what of [{ bits: 8 }, { scheme: 'Q8_0' }])
    expect(() => rules({ ...options, overrides: [{ match: '**.up_proj', ...what }] })).toThrow(
      /^overrides\[0\]: model\.layers\.0\.mlp\.up_proj\.weight is taken by no step/,
    )
})

describe('a pattern that matches nothing', () => {
  const failure = (options: Partial<CompressOptions>): OptionError => {
    try {
      rules(options)
    } catch (error) {
      return error as OptionError
    }
    throw new Error('nothing was thrown')
  }
  test('is an error that names the three nearest tensors', () => {
    const error = failure({ overrides: [{ match: 'model.layers.0.mlp.upproj', bits: 8 }] })
    expect(error).toBeInstanceOf(OptionError)
    expect(error.exitCode).toBe(2)
    expect(error.message).toMatch(
      /^overrides\[0\]: model\.layers\.0\.mlp\.upproj matches none of 16 tensors; nearest are model\.layers\.0\.mlp\.up_proj\.weight, /,
    )
    expect(error.code).toBe('PARE_E_NO_MATCH')
    expect(error.facts.nearest).toHaveLength(3)
  })
  test('says what ** would match', () => {
    expect(failure({ overrides: [{ match: '*_proj', bits: 8 }] }).message).toMatch(
      /; \*\*_proj, where \*\* also takes dots, would match 14$/,
    )
  })
  test('is one in the "only" of a step too, where the head counts for nothing', () => {
    expect(failure({ steps: [{ only: ['lm_haed'] }] }).message).toMatch(
      /^steps\[0\]\.only: lm_haed matches none of 14 tensors/,
    )
    expect(failure({ steps: [{ only: ['lm_head'] }] }).message).toMatch(
      /^steps\[0\]\.only: lm_head matches only tensors that it cannot be for \(1\)/,
    )
  })
  test('is shown without what steers a terminal', () => {
    expect(failure({ overrides: [{ match: '\u001b[2J', bits: 8 }] }).message).toMatch(
      /^overrides\[0\]: \\u\{1b\}\[2J matches none/,
    )
  })
})

describe('what a target cannot follow is refused before a model is read', () => {
  test.each<[Partial<CompressOptions>, RegExp]>([
    [
      { target: 'gguf', overrides: [{ match: 'a', bits: 3 }] },
      /^overrides\[0\]\.bits: GGUF files have named types, choose overrides\[0\]\.scheme; near 3 bits are .*Q3_K/,
    ],
    [
      { target: 'gguf', overrides: [{ match: 'a', groupSize: 3 }] },
      /^overrides\[0\]\.groupSize: the types of GGUF files/,
    ],
    [
      { target: 'gguf', overrides: [{ match: 'a', scheme: 'Q9_K' }] },
      /^overrides\[0\]\.scheme: there is no Q9_K; possible are/,
    ],
    [
      { target: 'gptq', overrides: [{ match: 'a', scheme: 'Q4_K' }] },
      /^overrides\[0\]\.scheme: .*a GPTQ checkpoint does not hold/,
    ],
    [{ overrides: [{ match: 'a' }] }, /^overrides\[0\]: a is matched and nothing is asked for/],
    [{ overrides: [{ match: 'a', keep: true, bits: 3 }] }, /keep and bits are both asked for/],
    [
      { overrides: [{ match: 'a', scheme: 'F16', symmetric: true }] },
      /scheme and symmetric are both asked for/,
    ],
    [{ overrides: [{ match: 'a', bits: 5 }] }, /^overrides\[0\]\.bits: 2, 3, 4 and 8 are possible, got 5/],
    [
      { overrides: [{ match: 'a', bit: 4 } as never] },
      /^overrides\[0\]: there is no field bit; the nearest is bits/,
    ],
    [
      { overrides: [{ match: 'a', bits: 4, at: 'b.yaml:3: overrides[7]' }], target: 'gguf' },
      /^b\.yaml:3: overrides\[7\]\.bits: /,
    ],
    [{ steps: [] }, /^steps: a list of one step or more/],
    [{ steps: [{ bits: 5 }] }, /^steps\[0\]\.bits: 2, 3, 4 and 8/],
    [{ steps: [{ scheme: 'Q4_K' }] }, /^steps\[0\]\.scheme: names types of GGUF files/],
    [
      { steps: [{ method: 'rtn', actOrder: true }] },
      /^steps\[0\]\.actOrder: rtn does not read it; leave it out, it is for gptq, spqr, baq/,
    ],
    [{ steps: [{ method: 'rtn' }], actOrder: true }, /^--act-order: rtn does not read it/],
    [{ steps: [{}], bits: 5 }, /^--bits: 2, 3, 4 and 8/],
    [{ steps: [{ at: 'b.yaml:5: steps[2]', bits: 5 }] }, /^b\.yaml:5: steps\[2\]\.bits: /],
  ])('%j', (options, message) => {
    expect(() => resolveOptions({ source: 'm', output: 'o', ...options })).toThrow(message)
  })
})
