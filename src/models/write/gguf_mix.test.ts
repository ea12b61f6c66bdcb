import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { BlockTypeName } from '../../nn/block_types.ts'
import { type GgufMixName, ggufMixNames, type MixFacts, mixedType } from './gguf_mix.ts'

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
  /** By mix, with ` imatrix` where that makes a difference: types by part, layer after layer. */
  mixes: Record<string, string>
}
// Written by interop/llama.cpp/mix_types.py.
const golden = new URL('./golden/gguf_mixes.json', import.meta.url)
const { models } = JSON.parse(readFileSync(golden, 'utf8')) as { models: Model[] }

/** Reads `output Q6_K, attn_v Q6_K*3 Q4_K`. */
const typesOf = (mix: string): (readonly [part: string, types: string[]])[] =>
  mix.split(', ').map((text) => {
    const [part, ...runs] = text.split(' ')
    const types = runs.flatMap((run) => {
      const [type, count = '1'] = run.split('*')
      return Array<string>(Number(count)).fill(type!)
    })
    return [part!, types] as const
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
    const plain = model.mixes[mix]!
    for (const weighted of [false, true]) {
      const facts = factsOf(model, weighted)
      for (const [part, expected] of typesOf((weighted && model.mixes[`${mix} imatrix`]) || plain)) {
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
  const typesIn = (mix: GgufMixName, part: string, columns: number) =>
    Object.values(mixedType(mix, `blk.0.${part}.weight`, [2, columns], facts)!) as BlockTypeName[]
  expect(typesIn('Q4_K_M', 'attn_v', 256)).toEqual(['Q6_K', 'Q6_K'])
  expect(typesIn('Q4_K_M', 'attn_v', 288)).toEqual(['Q6_K', 'Q8_0'])
  expect(typesIn('Q3_K_S', 'attn_q', 288)).toEqual(['Q3_K', 'Q4_0'])
  expect(typesIn('Q3_K_S', 'attn_q', 40)).toEqual(['Q3_K', 'F16'])
})
