/** The mixes of llama.cpp on a tiny model: what the file holds, and what of it can be asked for in another way. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openGguf } from '../formats/gguf/container.ts'
import { compress } from '../run/compress.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import { plan } from '../run/plan.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-mix-scheme-'))
const [wide, narrow] = [join(folder, 'wide.gguf'), join(folder, 'narrow.F16.gguf')]
beforeAll(() => {
  writeTinyGguf(wide, { hidden: 256 })
  writeTinyGguf(narrow)
})
afterAll(() => rmSync(folder, { recursive: true }))

let count = 0
const asked = (options: Partial<CompressOptions>): CompressOptions => ({
  source: wide,
  output: join(folder, `out-${++count}`),
  target: 'gguf',
  method: 'rtn',
  evaluate: false,
  probe: false,
  ...options,
})
/** Types in the plan of all that is no vector, without the tensors' last name. */
async function planned(options: Partial<CompressOptions>): Promise<Record<string, string>> {
  const { tensors } = await plan(asked(options))
  return Object.fromEntries(
    tensors
      .filter(({ role }) => role !== 'vector')
      .map(({ name, type }) => [name.replace(/^model\.(layers\.)?|(_proj)?\.weight$/g, ''), type]),
  )
}

test.each(['rtn', 'gptq'] as const)(
  '%s: the file has the types of the mix, its number and its name',
  async (method) => {
    const options = asked({ scheme: 'q4_k_m', method, samples: 2, length: 32 })
    const report = await compress(options)
    const [file] = readdirSync(options.output).filter((name) => name.endsWith('.gguf'))
    expect(file).toBe('wide-Q4_K_M.gguf')
    const path = join(options.output, file!)
    expect(statSync(path).size).toBe(report.bytes)
    const archive = openGguf(path)
    expect(archive.metadata.get('general.file_type')).toEqual({ type: 'u32', value: 15 })
    // Of two layers the second is among the last eighth, and no first eighth is there.
    const types = [...archive.tensors.values()].filter(({ shape }) => shape.length > 1)
    expect(Object.fromEntries(types.map(({ name, type }) => [name.replace('.weight', ''), type]))).toEqual({
      token_embd: 'Q6_K',
      'blk.0.attn_q': 'Q4_K',
      'blk.0.attn_k': 'Q4_K',
      'blk.0.attn_v': 'Q4_K',
      'blk.0.attn_output': 'Q4_K',
      'blk.0.ffn_gate': 'Q4_K',
      'blk.0.ffn_up': 'Q4_K',
      'blk.0.ffn_down': 'Q4_K',
      'blk.1.attn_q': 'Q4_K',
      'blk.1.attn_k': 'Q4_K',
      'blk.1.attn_v': 'Q6_K',
      'blk.1.attn_output': 'Q4_K',
      'blk.1.ffn_gate': 'Q4_K',
      'blk.1.ffn_up': 'Q4_K',
      'blk.1.ffn_down': 'Q6_K',
    })
    archive.close()
  },
)
test('Q4_K alone is one type for all matrices', async () => {
  const { embed_tokens: embedding, ...matrices } = await planned({ scheme: 'Q4_K' })
  expect(embedding).toBe('F16')
  expect(new Set(Object.values(matrices))).toEqual(new Set(['Q4_K']))
})
test('the embedding and single tensors have what is asked for them', async () => {
  const types = await planned({
    scheme: 'Q4_K_M',
    embedding: 'Q8_0',
    overrides: [{ match: '**.v_proj', scheme: 'Q5_K' }],
  })
  expect(types).toMatchObject({
    embed_tokens: 'Q8_0',
    '1.self_attn.v': 'Q5_K',
    '1.mlp.down': 'Q6_K',
    '0.mlp.up': 'Q4_K',
  })
})
test('a step with a pattern gives its mix to what it takes', async () => {
  const types = await planned({
    steps: [
      { method: 'rtn', scheme: 'Q8_0' },
      { method: 'rtn', scheme: 'Q4_K_M', only: ['**.down_proj'] },
    ],
  })
  expect([types['0.mlp.down'], types['1.mlp.down'], types['1.mlp.up']]).toEqual(['Q4_K', 'Q6_K', 'Q8_0'])
})
test('narrow rows have the stand-ins of llama.cpp, and none without the fall-back', async () => {
  const { tensors } = await plan(asked({ source: narrow, scheme: 'Q3_K_M' }))
  const down = tensors.find(({ name }) => name === 'model.layers.0.mlp.down_proj.weight')!
  const up = tensors.find(({ name }) => name === 'model.layers.0.mlp.up_proj.weight')!
  expect([up.type, up.note]).toEqual(['Q4_0', 'Q3_K does not divide rows of 64'])
  expect([down.type, down.note?.replace(/\d+$/, '')]).toEqual(['Q5_0', 'Q4_K does not divide rows of '])
  await expect(plan(asked({ source: narrow, scheme: 'Q3_K_M', fallback: false }))).rejects.toMatchObject({
    code: 'PARE_E_FALLBACK',
  })
})
test('a mix is for GGUF files, and decides alone', async () => {
  for (const target of ['pare', 'gptq'] as const)
    await expect(plan(asked({ target, scheme: 'Q4_K_M' }))).rejects.toThrow(
      /^--scheme: names types of GGUF files; --target \w+ takes --bits/,
    )
  await expect(plan(asked({ scheme: 'Q4_K_M', limits: { targetBpw: 4 } }))).rejects.toThrow(
    /^--scheme: Q4_K_M says the type of each tensor, and so does a target size/,
  )
  await expect(plan(asked({ scheme: 'Q4_K_X' }))).rejects.toThrow(/no Q4_K_X; possible are .*Q5_K_M/)
})
