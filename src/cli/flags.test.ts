import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { resolveOptions } from '../run/compress_options.ts'
import { flagName } from '../run/option_fields.ts'
import { ownFieldNames } from '../run/own_fields.ts'
import {
  addCalibrationFlags,
  addEvaluationFlags,
  addMethodFlags,
  addProbeFlag,
  addResultFlags,
  addRunFlags,
  toOptions,
} from './flags.ts'

/** A command with every option of the file. */
function command({ threads = true } = {}): Command {
  const all = new Command('all').exitOverride().configureOutput({ writeErr: () => {} })
  for (const add of [addResultFlags, addMethodFlags, addCalibrationFlags, addEvaluationFlags, addProbeFlag])
    add(all)
  return addRunFlags(all, 'everything', { threads })
}
const parse = (...args: string[]) => command().parse(args, { from: 'user' }).opts()
/** What stands there when nothing is typed: the opposite of each lone --no- flag. */
const untyped = { fallback: true, trueSequential: true, probe: true }

const typed: [args: string, options: object][] = [
  ['--target gguf', { target: 'gguf' }],
  ['--scheme Q3_K', { scheme: 'Q3_K' }],
  ['--bits 3', { bits: 3 }],
  ['--group-size 32', { groupSize: 32 }],
  ['--group-size row', { groupSize: 'row' }],
  ['--group-size -1', { groupSize: 'row' }],
  ['--symmetric', { symmetric: true }],
  ['--no-symmetric', { symmetric: false }],
  ['--format awq', { format: 'awq' }],
  ['--target-size 1.5MB', { targetSize: 1_500_000 }],
  ['--target-bpw 3.25', { targetBpw: 3.25 }],
  ['--levels 3,4,8', { levels: [3, 4, 8] }],
  ['--levels Q3_K,Q4_K', { levels: ['Q3_K', 'Q4_K'] }],
  ['--sensitivity error', { sensitivity: 'error' }],
  ['--sensitivity-windows 2', { sensitivityWindows: 2 }],
  ['--embedding Q6_K', { embedding: 'Q6_K' }],
  ['--activations F16', { activations: 'F16' }],
  ['--no-fallback', { fallback: false }],
  ['--shard-size 500MB', { shardSize: 500_000_000 }],
  ['--imatrix i.gguf', { imatrix: 'i.gguf' }],
  [
    '--override model.layers.0.**=scheme:Q5_K',
    { override: [{ match: 'model.layers.0.**', scheme: 'Q5_K', at: '--override' }] },
  ],
  [
    '--override re:a(?=b)=bits:8,group-size:row,symmetric --override lm_head=keep:false',
    {
      override: [
        { match: 're:a(?=b)', bits: 8, groupSize: 'row', symmetric: true, at: '--override' },
        { match: 'lm_head', keep: false, at: '--override' },
      ],
    },
  ],
  ['--recipe a.yaml', { recipe: 'a.yaml' }],
  ['--method rtn', { method: 'rtn' }],
  ['--act-order', { actOrder: true }],
  ['--no-act-order', { actOrder: false }],
  ['--static-groups', { staticGroups: true }],
  ['--no-static-groups', { staticGroups: false }],
  ['--search', { search: true }],
  ['--no-search', { search: false }],
  ['--no-true-sequential', { trueSequential: false }],
  ['--damping 1e-3', { damping: 0.001 }],
  ['--on-singular round', { onSingular: 'round' }],
  ['--calib a.txt b.jsonl', { calib: ['a.txt', 'b.jsonl'] }],
  ['--samples 3', { samples: 3 }],
  ['--length 64', { length: 64 }],
  ['--seed 0', { seed: 0 }],
  ['--text a.txt b.txt', { text: ['a.txt', 'b.txt'] }],
  ['--context 2', { context: 2 }],
  ['--windows 1', { windows: 1 }],
  ['--every 7', { every: 7 }],
  ['--offline', { offline: true }],
  ['--no-probe', { probe: false }],
  ['--threads 2', { threads: 2 }],
  ['--json', { json: true }],
]
describe('what is typed', () => {
  test.each(typed)('%s sets %o and nothing else', (args, options) => {
    expect(parse(...args.split(' '))).toEqual({ ...untyped, ...options })
  })
  test('covers every option that there is', () => {
    const flags = typed.map(([args]) => args.split(' ')[0])
    expect([...new Set(flags)].sort()).toEqual(
      command()
        .options.map(({ long }) => long)
        // What these do is told by `typed_steps.test.ts`.
        .filter((flag) => flag !== '--then')
        .filter((flag) => !ownFieldNames.some((name) => flag?.replace(/^--no-/, '--') === flagName(name)))
        .sort(),
    )
  })
  test.each([
    '--target coreml',
    '--format mlx',
    '--method nearest',
    '--bits 0',
    '--bits 0.5',
    '--group-size 0',
    '--group-size col',
    '--target-size 0',
    '--target-size 3GBit',
    '--target-bpw 0',
    '--levels 3,',
    '--sensitivity guessed',
    '--sensitivity-windows 0',
    '--damping 0',
    '--damping 101',
    '--damping 1e300',
    '--damping -1',
    '--damping Infinity',
    '--override lm_head',
    '--override =keep',
    '--override lm_head=',
    '--override lm_head=color:red',
    '--override lm_head=__proto__:1',
    '--override lm_head=bits:four',
    '--override lm_head=keep:perhaps',
    '--on-singular skip',
    '--samples 0',
    '--length 0',
    '--seed -1',
    '--context 1',
    '--windows 0',
    '--every 0',
    '--threads 0',
  ])('%s is refused with the name of the option', (args) => {
    const [flag] = args.split(' ')
    expect(() => parse(...args.split(' '))).toThrow(
      expect.objectContaining({
        code: 'commander.invalidArgument',
        message: expect.stringContaining(flag!),
      }),
    )
  })
  test('threads are an option only where a command computes', () => {
    const flags = command({ threads: false }).options.map(({ long }) => long)
    expect(flags).toContain('--offline')
    expect(flags).not.toContain('--threads')
  })
})

describe('options of the API', () => {
  test('nothing typed leaves every default to the API', () => {
    const options = toOptions('model.gguf', { ...parse(), output: 'out' })
    expect(resolveOptions(options)).toEqual(resolveOptions({ source: 'model.gguf', output: 'out' }))
  })
  test('sizes become limits, and the one that is typed takes the place of the one in a recipe', () => {
    expect(toOptions('m', { output: 'o', targetBpw: 3 })).toEqual({
      source: 'm',
      output: 'o',
      limits: { targetBpw: 3 },
    })
    const file = join(mkdtempSync(join(tmpdir(), 'flags-test-')), 'recipe.json')
    writeFileSync(file, JSON.stringify({ pare: 1, limits: { targetBpw: 4, maxKl: 1 } }))
    expect(toOptions('m', { recipe: file, targetSize: 9 }).limits).toEqual({ maxKl: 1, targetSize: 9 })
    expect(toOptions('m', { recipe: file, maxKl: 2 }).limits).toEqual({ maxKl: 2, targetBpw: 4 })
    rmSync(dirname(file), { recursive: true })
  })
  test('--calib is called calibration there, and is absent where it was not typed', () => {
    expect(toOptions('m', { output: 'o', calib: ['a.txt'], seed: 1 })).toEqual({
      source: 'm',
      output: 'o',
      calibration: ['a.txt'],
      seed: 1,
    })
    expect(toOptions('m', { output: 'o' })).not.toHaveProperty('calibration')
  })
})

test('the help has its headings in the order of the work', () => {
  const help = command().helpInformation()
  const headings = [...help.matchAll(/^([A-Z]\w+):$/gm)].map(([, heading]) => heading)
  expect(headings).toEqual(['Result', 'Method', 'Calibration', 'Evaluation', 'Running'])
})
