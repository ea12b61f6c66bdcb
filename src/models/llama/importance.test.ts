import { expect, test } from 'vitest'
import type { Imatrix } from '../../formats/gguf/imatrix.ts'
import { OptionError } from '../../tensor/errors.ts'
import { imatrixOf, importanceOf } from './importance.ts'

const about = { datasets: ['text.txt'], chunks: 1, chunkSize: 4 }
const q = 'model.layers.3.self_attn.q_proj.weight'
const seen = new Map([
  [q, { sums: Float64Array.of(8, 2), rows: 4 }],
  ['lm_head.weight', { sums: [1, 1], rows: 4 }],
])
const infos = (columns: number) =>
  new Map([
    [q, { shape: [6, columns] }],
    ['model.norm.weight', { shape: [2] }],
    ['model.layers.3.self_attn.k_proj.weight', { shape: [6, 2] }],
  ])

test('sums have the names of GGUF, and the model gets their means under its own names', () => {
  const imatrix = imatrixOf(seen, about)
  expect([...imatrix.entries.keys()]).toEqual(['blk.3.attn_q.weight', 'output.weight'])
  expect([...importanceOf(imatrix, 'i', infos(2))]).toEqual([[q, Float32Array.of(2, 0.5)]])
})
test('another number of inputs, and a file of another model, are refused by name', () => {
  const imatrix = imatrixOf(seen, about)
  expect(() => importanceOf(imatrix, 'i', infos(3))).toThrow(
    /^--imatrix: i has 2 inputs for blk\.3\.attn_q\.weight, the weight has 3; /,
  )
  const other: Imatrix = {
    ...imatrix,
    entries: new Map([['blk.9.attn_q.weight', imatrix.entries.get('output.weight')!]]),
  }
  expect(() => importanceOf(other, 'i', infos(2))).toThrow(/knows none of .*blk\.9\.attn_q\.weight/)
})
test('a weight that GGUF has no name for is refused', () => {
  expect(() => imatrixOf(new Map([['other', { sums: [1], rows: 1 }]]), about)).toThrow(OptionError)
})
