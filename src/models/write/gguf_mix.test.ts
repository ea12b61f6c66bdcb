import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { BlockTypeName } from '../../nn/block_types.ts'
import { type GgufMixName, ggufMixNames, type MixFacts, mixedType } from './gguf_mix.ts'

/** Types layer after layer, as `Q6_K*3 Q4_K`. */
type Runs = Record<string, string>
interface Model {
  name: string
  architecture?: string
  layers: number
  heads: number
  kv: number
  experts?: number
  untied?: boolean
  hidden?: number
  attention?: number
  intermediate?: number
  mixes: Record<GgufMixName, { types: Runs; imatrix?: Runs }>
}
// Written by interop/llama.cpp/mix_types.py.
const golden = new URL('./golden/gguf_mixes.json', import.meta.url)
const { models } = JSON.parse(readFileSync(golden, 'utf8')) as { models: Model[] }

const listed = (runs: string): string[] =>
  runs.split(' ').flatMap((run) => {
    const [type, count = '1'] = run.split('*')
    return Array<string>(Number(count)).fill(type!)
  })

function columnsOf({ hidden = 256, attention = 256, intermediate = 256 }: Model, part: string): number {
  return part === 'attn_output' ? attention : part.startsWith('ffn_down') ? intermediate : hidden
}

const factsOf = (model: Model, imatrix: boolean): MixFacts => ({
  architecture: model.architecture ?? 'llama',
  layers: model.layers,
  heads: model.heads,
  keyHeads: model.kv,
  experts: model.experts ?? 0,
  tied: !model.untied,
  imatrix,
})

describe.each(models)('every tensor has the type that llama.cpp gives it: $name', (model) => {
  test.each(ggufMixNames)('%s', (mix) => {
    const { types, imatrix } = model.mixes[mix]
    for (const weighted of [false, true]) {
      const facts = factsOf(model, weighted)
      for (const [part, runs] of Object.entries(weighted ? { ...types, ...imatrix } : types)) {
        const expected = listed(runs)
        const isOuter = part === 'output' || part === 'token_embd'
        expect(expected.length).toBe(isOuter ? 1 : model.layers)
        const found = expected.map((_, i) => {
          const name = isOuter ? `${part}.weight` : `blk.${i}.${part}.weight`
          // llama.cpp was given F32, and leaves it where it does not quantise.
          return mixedType(mix, name, [2, columnsOf(model, part)], facts)?.type ?? 'F32'
        })
        expect(found, `${part}${weighted ? ' with imatrix' : ''}`).toEqual(expected)
      }
    }
  })
})

const facts: MixFacts = {
  architecture: 'llama',
  layers: 32,
  heads: 32,
  keyHeads: 8,
  tied: false,
  imatrix: false,
}
test('norms, biases and routers stay as they are', () => {
  for (const [name, shape] of [
    ['blk.0.attn_norm.weight', [256]],
    ['output_norm.weight', [256]],
    ['blk.0.attn_q.bias', [256]],
    ['blk.0.ffn_gate_inp.weight', [8, 256]],
  ] as const)
    expect(mixedType('Q4_K_M', name, shape, facts)).toBeUndefined()
})
test('what a mix asks for is told beside what stands in', () => {
  const typesOf = (mix: GgufMixName, part: string, columns: number) =>
    Object.values(mixedType(mix, `blk.0.${part}.weight`, [2, columns], facts)!) as BlockTypeName[]
  expect(typesOf('Q4_K_M', 'attn_v', 256)).toEqual(['Q6_K', 'Q6_K'])
  expect(typesOf('Q4_K_M', 'attn_v', 288)).toEqual(['Q6_K', 'Q8_0'])
  expect(typesOf('Q3_K_S', 'attn_q', 288)).toEqual(['Q3_K', 'Q4_0'])
  expect(typesOf('Q3_K_S', 'attn_q', 40)).toEqual(['Q3_K', 'F16'])
})
