/** Results for each program: the folder that it asks for, and the weights that Pare stores for itself. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { distance, numbers } from '../models/llama/fixtures.suite.ts'
import { reopened } from '../models/write/sources.suite.ts'
import { compress } from '../run/compress.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import { plan } from '../run/plan.ts'
import { FormatError } from '../tensor/errors.ts'
import { planText } from './terminal.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-targets-'))
const sources = { gguf: join(folder, 'tiny.gguf'), folder: join(folder, 'hf') }
// What earlier runs measured must not be found.
const home = process.env.PARE_HOME
beforeAll(() => {
  process.env.PARE_HOME = join(folder, 'home')
  writeTinyGguf(sources.gguf)
  writeTinyFolder(sources.folder)
})
afterAll(() => {
  if (home === undefined) delete process.env.PARE_HOME
  else process.env.PARE_HOME = home
  rmSync(folder, { recursive: true, force: true })
})

let count = 0
async function run(options: Omit<CompressOptions, 'output'>) {
  const output = join(folder, `out-${++count}`)
  const whole = { method: 'rtn', evaluate: false, probe: false, output, ...options } as const
  const planned = await plan(whole)
  const report = await compress(whole)
  expect(report.bytes).toBe(planned.bytes)
  return {
    output,
    planned,
    report,
    json: (name: string) => JSON.parse(readFileSync(join(output, name), 'utf8')),
  }
}
const logits = (path: string) =>
  reopened(path, ({ model }) => numbers(model.load().forward(Uint32Array.of(3, 4, 5, 80, 81))))

const halves = { bits: 4, groupSize: 64, symmetric: true } as const
/** What each stores by default for rows of 64 and 128, and which files lie beside the weights. */
const cases: [Partial<CompressOptions>, Partial<CompressOptions>, Record<string, unknown>][] = [
  [{ target: 'vllm' }, halves, { quant_method: 'compressed-tensors', format: 'pack-quantized' }],
  [{ target: 'vllm', format: 'gptq' }, halves, { quant_method: 'gptq', sym: true, desc_act: false }],
  [{ target: 'vllm', format: 'gptq_v2' }, halves, { checkpoint_format: 'gptq_v2', group_size: 64 }],
  [
    { target: 'vllm', format: 'awq' },
    { ...halves, symmetric: false },
    { quant_method: 'awq', version: 'gemm' },
  ],
  [{ target: 'transformers' }, halves, { quant_method: 'compressed-tensors' }],
  [
    { target: 'transformers', symmetric: false },
    { ...halves, symmetric: false },
    { quant_method: 'compressed-tensors' },
  ],
  [{ target: 'transformers', format: 'gptq' }, halves, { quant_method: 'gptq', checkpoint_format: 'gptq' }],
  [{ target: 'transformers', format: 'awq' }, { ...halves, symmetric: false }, { quant_method: 'awq' }],
  [{ target: 'mlx', symmetric: true }, halves, { group_size: 64, bits: 4, mode: 'affine' }],
  [{ target: 'gptq', format: 'gptq_v2' }, { ...halves, symmetric: false }, { checkpoint_format: 'gptq_v2' }],
]
describe.each(['gguf', 'folder'] as const)('from a %s', (kind) => {
  test.each(cases)(
    '%j: the folder is whole, and its logits are those of the Pare folder',
    async (asked, pare, fields) => {
      const { output, json, report } = await run({ source: sources[kind], ...asked })
      const config = json('config.json')
      expect(config).toMatchObject({
        architectures: ['LlamaForCausalLM'],
        model_type: 'llama',
        torch_dtype: 'float16',
        quantization_config: fields,
      })
      if (asked.target === 'mlx') expect(config.quantization).toEqual(config.quantization_config)
      const files = readdirSync(output)
      const beside = ['model.safetensors', 'config.json', 'tokenizer.json', 'tokenizer_config.json']
      expect(files).toEqual(expect.arrayContaining(beside))
      if (asked.target !== 'gptq') {
        expect(json('special_tokens_map.json')).toEqual({ eos_token: '<|end|>' })
        expect(json('generation_config.json')).toEqual(
          kind === 'gguf' ? { bos_token_id: null, eos_token_id: 263 } : {},
        )
        expect(report.programs!.length).toBeGreaterThan(0)
      }
      const own = await run({ source: sources[kind], target: 'pare', ...pare })
      expect([...logits(output)]).toEqual([...logits(own.output)])
    },
  )
})
test.each([
  { target: 'vllm' },
  { target: 'vllm', format: 'awq' },
  { target: 'vllm', format: 'gptq' },
  { target: 'mlx', symmetric: true },
] as const)(
  '%j: a calibrated method keeps its groups neighbours, and a baseline stands beside it',
  async (asked) => {
    const calibrated = { method: 'gptq', samples: 2, length: 32, source: sources.gguf } as const
    const evaluated = { evaluate: true, context: 32, windows: 1, sideBySide: false }
    const { output, report } = await run({ ...calibrated, ...evaluated, ...asked })
    expect(report.kl).toBeGreaterThan(0)
    expect(report.baselines).toMatchObject([{ name: 'round to nearest', bytes: report.bytes }])
    const symmetric = !('format' in asked) || asked.format !== 'awq'
    const own = await run({ ...calibrated, target: 'pare', symmetric, staticGroups: true })
    expect([...logits(output)]).toEqual([...logits(own.output)])
  },
)
test('the weights of a folder for a program are dealt to files where a size is asked for', async () => {
  const [whole, sharded] = [
    await run({ source: sources.folder, target: 'vllm' }),
    await run({ source: sources.folder, target: 'vllm', shardSize: 30_000 }),
  ]
  const index = sharded.json('model.safetensors.index.json')
  const files = readdirSync(sharded.output).filter((name) => name.endsWith('.safetensors'))
  expect(files.length).toBeGreaterThan(2)
  expect(new Set(Object.values(index.weight_map))).toEqual(new Set(files))
  expect([...logits(sharded.output)]).toEqual([...logits(whole.output)])
})
test('offsets of MLX are rounded to halves, and nothing else moves', async () => {
  const [mlx, own] = [
    await run({ source: sources.folder, target: 'mlx' }),
    await run({ source: sources.folder, target: 'pare' }),
  ]
  // A bias of 15 steps moves by 2^-11 of itself at most: a small share of a logit.
  expect(distance(logits(mlx.output), logits(own.output))).toBeLessThan(2 ** -7)
  expect(mlx.planned.notes.join()).toMatch(/groups of 64: chosen for mlx/)
})
test('llama.cpp gets the mix Q4_K_M, and a target size takes the place of it', async () => {
  const { output, planned, report } = await run({ source: sources.folder, target: 'llama.cpp' })
  expect(readdirSync(output).filter((name) => name.endsWith('.gguf'))).toEqual(['hf-Q4_K_M.gguf'])
  expect(report).toMatchObject({
    target: 'llama.cpp',
    format: 'gguf',
    programs: [{ name: 'llama.cpp', version: 'b3500' }],
  })
  expect(planText(planned)).toMatch(/rtn to llama\.cpp\n {2}opens in llama\.cpp b3500 or newer, as gguf\n/)
  const sized = await plan({
    source: sources.folder,
    target: 'llama.cpp',
    method: 'rtn',
    limits: { targetBpw: 9 },
  })
  expect(sized.bytesRange).toBeDefined()
})
test('the plan, the report and the card name the program and its least version', async () => {
  const { output, planned, report } = await run({ source: sources.folder, target: 'vllm' })
  expect(planned).toMatchObject({
    format: 'compressed-tensors',
    programs: [{ name: 'vLLM', version: '0.8.5' }],
  })
  expect(report.programs).toEqual(planned.programs)
  expect(planText(planned)).toContain('\n  opens in vLLM 0.8.5 or newer, as compressed-tensors\n')
  const card = readFileSync(join(output, 'README.md'), 'utf8')
  expect(card).toContain('with rtn, for vLLM 0.8.5 or newer.')
  expect(card).toMatch(/library_name: transformers\n[\s\S]* {2}- vllm\n {2}- compressed-tensors\n/)
  expect(readFileSync(join(output, 'report.html'), 'utf8')).toContain('opens in vLLM 0.8.5 or newer')
})
test('settings of the source are kept, and what it lacks is made from them', async () => {
  const source = writeTinyFolder(join(folder, 'settings'))
  const path = join(source, 'config.json')
  const config = JSON.parse(readFileSync(path, 'utf8'))
  const { architectures: _, ...rest } = config
  writeFileSync(path, JSON.stringify({ ...rest, dtype: 'bfloat16', bos_token_id: 1, eos_token_id: [2, 3] }))
  writeFileSync(join(source, 'chat_template.jinja'), '{{ messages }}')
  writeFileSync(join(source, 'tokenizer.model'), 'pieces')
  const { output, json } = await run({ source, target: 'vllm' })
  // The newer name of the type would win over the older one.
  expect(json('config.json')).toMatchObject({
    architectures: ['LlamaForCausalLM'],
    dtype: 'float16',
    torch_dtype: 'float16',
    eos_token_id: [2, 3],
  })
  expect(json('generation_config.json')).toEqual({ bos_token_id: 1, eos_token_id: [2, 3] })
  for (const name of ['chat_template.jinja', 'tokenizer.model'])
    expect(readFileSync(join(output, name), 'utf8')).toBe(readFileSync(join(source, name), 'utf8'))
  // Pare and a bare GPTQ folder take along what there is, and make nothing.
  const gptq = await run({ source, target: 'gptq' })
  for (const name of ['generation_config.json', 'special_tokens_map.json', 'tokenizer.model'])
    expect(existsSync(join(gptq.output, name))).toBe(false)
})
test('vLLM finds weights of GPTQ that are left as they are by the name of the matrix it puts them in', async () => {
  const overrides = [{ match: 're:layers\\.0\\.self_attn\\.[qkv]_proj', keep: true }]
  const kept = async (target: 'vllm' | 'transformers') => {
    const { json } = await run({ source: sources.folder, target, format: 'gptq', overrides })
    return Object.keys(json('config.json').quantization_config.dynamic)
  }
  const own = ['k_proj', 'q_proj', 'v_proj'].map((part) => `-:^model\\.layers\\.0\\.self_attn\\.${part}$`)
  expect((await kept('transformers')).sort()).toEqual(own)
  expect((await kept('vllm')).sort()).toEqual(
    [...own, '-:^model\\.layers\\.0\\.self_attn\\.qkv_proj$'].sort(),
  )
})
test('transformers, which does not look at what a GPTQ folder leaves out, is told which layers have codes', async () => {
  const layers = async (more: Partial<CompressOptions>) => {
    const { json, output } = await run({ source: sources.folder, format: 'gptq', ...more })
    const coded: string[] = []
    reopened(output, ({ weights }) => {
      for (const { name, type } of weights.infos.values())
        if (type.startsWith('gptq-')) coded.push(name.replace(/\.weight$/, ''))
    })
    const { quantization_config: settings } = json('config.json')
    expect(json('quantize_config.json')).toEqual(settings)
    return { coded, named: settings.modules_in_block_to_quantize as string[][] | undefined }
  }
  const overrides = [{ match: 're:layers\\.0\\.self_attn\\.[qkv]_proj', keep: true }]
  const kept = await layers({ target: 'transformers', overrides })
  expect(kept.coded).not.toContain('model.layers.0.self_attn.q_proj')
  expect(kept.coded).toContain('model.layers.1.self_attn.q_proj')
  expect(kept.named!.flat().sort()).toEqual(kept.coded.sort())
  // All layers have codes, or vLLM, which looks.
  expect((await layers({ target: 'transformers' })).named).toBeUndefined()
  expect((await layers({ target: 'vllm', overrides })).named).toBeUndefined()
})
test('a program without a tokenizer to load is refused before anything is done', async () => {
  const source = writeTinyFolder(join(folder, 'mute'))
  rmSync(join(source, 'tokenizer.json'))
  const output = join(folder, 'none')
  const error = await compress({ source, output, target: 'vllm', method: 'rtn', evaluate: false }).catch(
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(FormatError)
  expect((error as Error).message).toMatch(/mute: needs a tokenizer\.json for the program .* --target pare$/)
  expect(existsSync(output)).toBe(false)
})
test('parts that vLLM fuses get one width where a size is asked for', async () => {
  const { planned, report, json } = await run({
    source: sources.folder,
    target: 'vllm',
    limits: { targetBpw: 8.5 },
    sensitivity: 'error',
    samples: 2,
    length: 32,
  })
  expect(planned.bytesRange!.least).toBeLessThanOrEqual(report.bytes)
  expect(planned.bytesRange!.most).toBeGreaterThanOrEqual(report.bytes)
  const groups = Object.values(json('config.json').quantization_config.config_groups) as {
    targets: string[]
    weights: { num_bits: number }
  }[]
  expect(groups.map(({ weights }) => weights.num_bits).sort()).toEqual([4, 8])
  for (const { targets } of groups)
    for (const name of targets) {
      const [, module, part] = /^(.*\.)([qkv]|gate|up)_proj$/.exec(name) ?? []
      const parts = part === undefined ? [] : part.length === 1 ? ['q', 'k', 'v'] : ['gate', 'up']
      expect(targets).toEqual(expect.arrayContaining(parts.map((each) => `${module}${each}_proj`)))
    }
})
