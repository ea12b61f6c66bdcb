import { expect, expectTypeOf, test } from 'vitest'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import type { Recipe } from './recipe.ts'
import { fromRecipe, recipeOptions, resolvedRecipe } from './recipe_options.ts'

/** A recipe with every field. */
const whole: Recipe = {
  pare: 1,
  source: 'model.gguf',
  output: 'smaller',
  overwrite: true,
  target: 'pare',
  seed: 7,
  embedding: 'Q6_K',
  fallback: false,
  trueSequential: false,
  calibration: { files: ['a.txt'], samples: 3, length: 64 },
  evaluation: { files: ['b.txt'], context: 64, windows: 2, every: 3 },
  steps: [
    { method: 'rtn', bits: 8, groupSize: 'row', symmetric: true, search: true },
    {
      method: 'gptq',
      bits: 3,
      groupSize: 32,
      symmetric: false,
      search: false,
      actOrder: false,
      staticGroups: false,
      damping: 0.1,
      onSingular: 'round',
      only: ['model.layers.*.mlp'],
    },
  ],
  overrides: [
    { match: 're:down_proj', bits: 8, groupSize: 16, symmetric: true },
    { match: 'lm_head', scheme: 'F16' },
    { match: 'model.layers.0', keep: true },
  ],
  limits: { maxMemory: '600MB', maxKl: 0.3, targetSize: '60MiB' },
  sideBySide: true,
  speed: false,
  baselines: false,
  verify: false,
  levels: [3, 8],
  sensitivity: 'error',
  sensitivityWindows: 2,
  scratch: 'scratch',
  offline: true,
  threads: 2,
}

test('every field of a recipe becomes the option of its name', () => {
  const options = recipeOptions(whole)
  expect(options).toMatchObject({
    source: 'model.gguf',
    output: 'smaller',
    overwrite: true,
    target: 'pare',
    seed: 7,
    embedding: 'Q6_K',
    fallback: false,
    trueSequential: false,
    calibration: ['a.txt'],
    samples: 3,
    length: 64,
    text: ['b.txt'],
    context: 64,
    windows: 2,
    every: 3,
    steps: whole.steps,
    overrides: whole.overrides,
    limits: { maxMemory: 600e6, maxKl: 0.3, targetSize: 60 * 2 ** 20 },
    sideBySide: true,
    speed: false,
    baselines: false,
    verify: false,
    levels: [3, 8],
    sensitivity: 'error',
    sensitivityWindows: 2,
    scratch: 'scratch',
    offline: true,
    threads: 2,
  })
  expect(options).not.toHaveProperty('evaluate')
  expect(fromRecipe(whole)).not.toHaveProperty('threads')
})
test('an empty recipe asks for the defaults, and evaluation: false for no evaluation', () => {
  expect(fromRecipe({ pare: 1 })).toEqual({ source: '', output: '' })
  const plain = resolveOptions({ source: 'm', output: 'o' })
  expect(resolveOptions(fromRecipe({ pare: 1, source: 'm', output: 'o' }))).toEqual(plain)
  expect(fromRecipe({ pare: 1, evaluation: false }).evaluate).toBe(false)
})
test.each<[string, Recipe | Partial<CompressOptions>]>([
  ['defaults', {}],
  ['every field', whole],
  ['GGUF', { target: 'gguf', scheme: 'Q3_K', embedding: 'keep', fallback: false, method: 'rtn' }],
  ['GPTQ', { target: 'gptq', bits: 3, groupSize: 128, evaluate: false, damping: 0.5 }],
  ['ONNX', { target: 'onnx', activations: 'F16', groupSize: 32 }],
  ['a size', { target: 'gguf', limits: { targetBpw: 3.25 }, levels: ['Q4_K', 'Q3_K'] }],
  ['files', { calibration: ['a', 'b'], text: ['c'], scratch: 's' }],
])('%s: the resolved recipe asks for the same again', (_, asked) => {
  const options = 'pare' in asked ? fromRecipe(asked) : asked
  const resolved = resolveOptions({ source: 'm', output: 'o', ...options })
  const recipe = resolvedRecipe(resolved)
  // As it is printed and read again.
  const again = resolveOptions(fromRecipe(JSON.parse(JSON.stringify(recipe))))
  expect(again).toEqual({
    ...resolved,
    steps: resolved.steps.map((step, i) => ({ ...step, at: `steps[${i}]` })),
  })
  expect(resolvedRecipe(again)).toEqual(recipe)
})
test('what is said beside the recipe wins, for every step', () => {
  const { steps, seed } = resolveOptions({ ...fromRecipe(whole), bits: 2, seed: 1 })
  expect([steps.map(({ grid }) => grid!.bits), seed]).toEqual([[2, 2], 1])
})
test('recipes and options have the types that are documented', () => {
  expectTypeOf(fromRecipe).parameter(0).toEqualTypeOf<string | Recipe>()
  expectTypeOf(fromRecipe).returns.toEqualTypeOf<CompressOptions>()
})
