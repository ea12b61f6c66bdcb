/** Recipes on the command line: every flag is a field, what is typed wins, and the plan shows the rules. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { type CompressOptions, resolveOptions } from '../run/compress_options.ts'
import { flagName } from '../run/option_fields.ts'
import { ownFieldNames } from '../run/own_fields.ts'
import type { CompressionPlan } from '../run/plan.ts'
import type { Recipe } from '../run/recipe.ts'
import { recipeOptions } from '../run/recipe_options.ts'
import { toOptions, typedFlags } from './flags.ts'
import { program } from './main.ts'
import { briefly, jsonError, pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
const recipe = join(folder, 'recipe.yaml')
beforeAll(() => {
  writeTinyGguf(model)
  writeFileSync(
    recipe,
    `pare: 1
source: ${model}
target: gguf
steps:
  - method: rtn
    scheme: Q4_0
    only: ['**.mlp', '**.self_attn']
overrides:
  - match: model.layers.0.*
    scheme: Q8_0
evaluation: false
`,
  )
})

const command = (name: string) => program().commands.find((each) => each.name() === name)!
const step = (fields: object): Partial<Recipe> => ({ steps: [fields] })
/** Every flag with the recipe that says the same. */
const same: [args: string, recipe: Partial<Recipe>][] = [
  ['--target gguf', { target: 'gguf' }],
  ['--scheme Q3_K --target gguf', { target: 'gguf', ...step({ scheme: 'Q3_K' }) }],
  ['--bits 3', step({ bits: 3 })],
  ['--group-size row', step({ groupSize: 'row' })],
  ['--symmetric', step({ symmetric: true })],
  ['--no-symmetric', step({ symmetric: false })],
  ['--target vllm --format gptq', { target: 'vllm', format: 'gptq' }],
  ['--embedding Q6_K', { embedding: 'Q6_K' }],
  ['--activations F16 --target onnx', { activations: 'F16', target: 'onnx' }],
  ['--no-fallback', { fallback: false }],
  ['--shard-size 500MB', { shardSize: '500MB' }],
  [
    '--imatrix i.gguf --target gguf --method rtn',
    { imatrix: 'i.gguf', target: 'gguf', ...step({ method: 'rtn' }) },
  ],
  [
    '--override lm_head=bits:8,group-size:32,symmetric',
    { overrides: [{ match: 'lm_head', bits: 8, groupSize: 32, symmetric: true }] },
  ],
  ['--output out', { output: 'out' }],
  ['--overwrite', { overwrite: true }],
  ['--restart', { restart: true }],
  ['--max-kl 0.5', { limits: { maxKl: 0.5 } }],
  ['--max-memory 2GB', { limits: { maxMemory: '2GB' } }],
  ['--target-size 60MB', { limits: { targetSize: '60MB' } }],
  ['--target-bpw 3.25', { limits: { targetBpw: 3.25 } }],
  ['--levels 3,8 --target-bpw 4', { levels: [3, 8], limits: { targetBpw: 4 } }],
  ['--sensitivity error --target-bpw 4', { sensitivity: 'error', limits: { targetBpw: 4 } }],
  ['--sensitivity-windows 2 --target-bpw 4', { sensitivityWindows: 2, limits: { targetBpw: 4 } }],
  ['--no-baselines', { baselines: false }],
  ['--no-verify', { verify: false }],
  ['--side-by-side', { sideBySide: true }],
  ['--no-side-by-side', { sideBySide: false }],
  ['--speed', { speed: true }],
  ['--no-speed', { speed: false }],
  ['--method rtn', step({ method: 'rtn' })],
  ['--act-order', step({ actOrder: true })],
  ['--no-act-order', step({ actOrder: false })],
  ['--static-groups', step({ staticGroups: true })],
  ['--no-static-groups', step({ staticGroups: false })],
  ['--search', step({ search: true })],
  ['--no-search', step({ search: false })],
  ['--no-true-sequential', { trueSequential: false }],
  ['--damping 0.1', step({ damping: 0.1 })],
  ['--on-singular round', step({ onSingular: 'round' })],
  ['--calib a.txt b.jsonl', { calibration: { files: ['a.txt', 'b.jsonl'] } }],
  ['--samples 3', { calibration: { samples: 3 } }],
  ['--length 64', { calibration: { length: 64 } }],
  ['--seed 5', { seed: 5 }],
  ['--text a.txt b.txt', { evaluation: { files: ['a.txt', 'b.txt'] } }],
  ['--context 2', { evaluation: { context: 2 } }],
  ['--windows 1', { evaluation: { windows: 1 } }],
  ['--every 7', { evaluation: { every: 7 } }],
  ['--no-evaluate', { evaluation: false }],
  ['--no-probe', { probe: false }],
  ['--scratch tmp', { scratch: 'tmp' }],
  ['--offline', { offline: true }],
  ['--threads 2', { threads: 2 }],
]
describe('every flag is also a field of the recipe', () => {
  const resolved = ({ threads, ...options }: CompressOptions & { threads?: number }) => ({
    ...JSON.parse(
      JSON.stringify(resolveOptions(options), (key, value) => (key === 'at' ? undefined : value)),
    ),
    threads,
  })
  test.each(same)('%s is %j', (args, written) => {
    const parsed = command('compress')
      .action(() => {})
      .parse(args.split(' '), { from: 'user' })
    const typed = resolved(toOptions('m', typedFlags(parsed)))
    expect(typed).toEqual(resolved(recipeOptions({ pare: 1, source: 'm', ...written })))
    // It is not the default, or says that it is.
    if (!/--(static-groups|act-order|no-symmetric|no-search)$/.test(args))
      expect(typed).not.toEqual(resolved(recipeOptions({ pare: 1, source: 'm' })))
  })
  test('and none is missing, but for those that say what is read and printed', () => {
    const flags = new Set(same.flatMap(([args]) => args.split(' ').filter((word) => word.startsWith('--'))))
    const all = [...command('compress').options, ...command('plan').options].map(({ long }) => long!)
    // Those of single methods are read in `typed_steps.test.ts`.
    for (const name of ownFieldNames) flags.add(flagName(name)).add(`--no-${flagName(name).slice(2)}`)
    expect([...new Set(all)].filter((flag) => !flags.has(flag)).sort()).toEqual([
      '--json',
      '--recipe',
      '--tensors',
      '--then',
    ])
  })
})

const planned = (...args: string[]): CompressionPlan => {
  const { code, stdout, stderr } = pare(['plan', ...args, '--json'])
  expect(code, stderr).toBe(0)
  return JSON.parse(stdout)
}
test('the plan lists every rule with its matches and two examples, as text and as JSON', () => {
  const { rules, steps } = planned('--recipe', recipe)
  expect(rules).toContainEqual({
    rule: 'overrides[0]',
    match: 'model.layers.0.*',
    asks: 'Q8_0',
    tensors: 7,
    examples: ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0.self_attn.k_proj.weight'],
  })
  expect(rules.map(({ rule, tensors }) => [rule, tensors])).toEqual([
    ['steps[0].only', 6],
    ['steps[0].only', 8],
    ['overrides[0]', 7],
  ])
  expect(steps).toEqual([{ method: 'rtn', type: 'Q4_0', weights: 14 }])
  const { stdout } = pare(['plan', '--recipe', recipe])
  expect(stdout).toMatch(/step 1 {2}rtn, Q4_0: takes 14 weights/)
  expect(stdout).toMatch(
    /rule {4}overrides\[0\] model\.layers\.0\.\* -> Q8_0: 7 tensors, such as model\.layers\.0\.self_attn\.q_proj\.weight, model\./,
  )
})
test('what is typed wins over the recipe, and overrides that are typed come last', () => {
  const { tensors, recipe: whole } = planned(
    '--recipe',
    recipe,
    '--scheme',
    'Q5_0',
    '--override',
    're:0\\..*up_proj=keep',
    '--override',
    'model.embed_tokens=scheme:Q8_0',
  )
  const type = (name: string) => tensors.find((tensor) => tensor.name === name)!.type
  expect(type('model.layers.1.mlp.up_proj.weight')).toBe('Q5_0')
  expect(type('model.layers.0.mlp.up_proj.weight')).toBe('F16')
  expect(type('model.layers.0.mlp.down_proj.weight')).toBe('Q8_0')
  expect(type('model.embed_tokens.weight')).toBe('Q8_0')
  expect(whole).toMatchObject({ pare: 1, evaluation: false, steps: [{ method: 'rtn', scheme: 'Q5_0' }] })
  expect(whole.overrides).toHaveLength(3)
})
test('the recipe of a plan gives the same plan', () => {
  const first = planned('--recipe', recipe, '--scheme', 'Q5_0', '--embedding', 'Q8_0', '--no-probe')
  const again = join(folder, 'again.json')
  writeFileSync(again, JSON.stringify(first.recipe))
  expect(planned('--recipe', again)).toEqual(first)
})
test('the model that is typed takes the place of the source, and a recipe is compressed without one', () => {
  const output = join(folder, 'out')
  const { code, stderr } = pare(['compress', '--recipe', recipe, '--output', output, ...briefly, '--json'])
  expect(code, stderr).toBe(0)
  const report = JSON.parse(readFileSync(join(output, 'report.json'), 'utf8'))
  expect([report.method, report.layers.length, report.kl]).toEqual(['rtn', 14, undefined])
  const missing = pare(['plan', join(folder, 'missing.gguf'), '--recipe', recipe, '--json'])
  expect([missing.code, jsonError(missing).message]).toEqual([6, expect.stringContaining('missing.gguf')])
})
test.each<[string, string, RegExp]>([
  [
    'a field that is not there',
    'pare: 1\nsteps:\n  - bit: 3\n',
    /bad\.yaml:3: steps\[0\]: there is no field bit; the nearest is bits/,
  ],
  [
    'a value that cannot be',
    'pare: 1\nsource: x\nsteps:\n  - bits: 5\n',
    /bad\.yaml:4: steps\[0\]\.bits: 2, 3, 4 and 8 are possible, got 5/,
  ],
  ['no source', 'pare: 1\n', /source: a path, pypi:/],
  ['another version', 'pare: 9\n', /bad\.yaml:1: pare: .* got 9/],
])('a recipe with %s ends with exit code 2, the file and the line', (_, text, message) => {
  const bad = join(folder, 'bad.yaml')
  writeFileSync(bad, text)
  for (const args of [['plan'], ['compress', '--output', join(folder, 'never')]]) {
    const outcome = pare([...args, '--recipe', bad, '--json'])
    expect([outcome.code, outcome.stdout]).toEqual([2, ''])
    expect(jsonError(outcome).message).toMatch(message)
  }
  expect(existsSync(join(folder, 'never'))).toBe(false)
})
test('a pattern that matches nothing ends with exit code 2 and the nearest tensors', () => {
  const outcome = pare(['plan', '--recipe', recipe, '--override', 'model.layer.0=keep', '--json'])
  expect(outcome.code).toBe(2)
  expect(jsonError(outcome)).toMatchObject({ code: 'PARE_E_NO_MATCH', facts: { pattern: 'model.layer.0' } })
  expect(jsonError(outcome).message).toMatch(
    /^--override: model\.layer\.0 matches none of 15 tensors; nearest are model\.layers\.0\./,
  )
})
test('a recipe without an output needs one', () => {
  const outcome = pare(['compress', '--recipe', recipe, '--json'])
  expect([outcome.code, jsonError(outcome).message]).toEqual([2, expect.stringContaining('--output')])
})
