import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { gmp } from './gmp.ts'
import { jaxpruner } from './jaxpruner.ts'
import { importsOf, methodSources } from './method_sources.ts'
import { root } from './repository.ts'

test('imports of values are followed, from folders beside and from the sources; types and packages are not', () => {
  const text = `/** import { no } from './comment.ts' */
import type { A } from './types.ts'
import { readFileSync } from 'node:fs'
import { type B, b } from '../mixed.ts'
import {
  c,
  d,
} from '#src/prune/mask.ts'
export { e } from './again.ts'
`
  expect(importsOf('experiments/models/x.ts', text)).toEqual([
    'experiments/mixed.ts',
    'src/prune/mask.ts',
    'experiments/models/again.ts',
  ])
})
test('all sources of a method are found, through any number of files', () => {
  // gmp.ts imports masked_training.ts, that mask_schedule.ts, and that the schedule.
  const found = methodSources('src/prune/gmp.ts')
  expect(found).toEqual(expect.arrayContaining(['src/prune/gmp.ts', 'src/optim/sparsity_schedule.ts']))
  expect(found).not.toContain('src/prune/global.ts')
  expect(found).toEqual([...found].sort())
})
test('results on pruning go stale with their settings, their trainings and every file of their methods', () => {
  const ways = readdirSync(join(root, 'src/prune'))
    .filter((name) => name.endsWith('.ts') && !/\.(test|suite)\./.test(name))
    .map((name) => `src/prune/${name}`)
  // What only the use without training reads.
  const training = methodSources('src/prune/training_methods.ts')
  const others = ['instant', 'one_shot_magnitude', 'wanda', 'sparsegpt', 'exact_obs', 'obs_levels']
    .flatMap((name) => methodSources(`src/prune/${name}.ts`))
    .filter((file) => !training.includes(file))
  expect(jaxpruner.sources).toEqual(
    expect.arrayContaining([
      ...ways.filter((file) => !others.includes(file)),
      'experiments/jaxpruner_training.ts',
      'experiments/image_training.ts',
      'experiments/language_training.ts',
      'experiments/digits_on_photographs.ts',
      'src/optim/sparsity_schedule.ts',
    ]),
  )
  expect(gmp.sources).toEqual(
    expect.arrayContaining([
      'experiments/gmp_training.ts',
      'experiments/gmp_models.ts',
      'experiments/image_training.ts',
      'src/prune/gmp.ts',
      'src/prune/layerwise.ts',
    ]),
  )
  for (const file of [...gmp.sources, ...jaxpruner.sources]) {
    expect(existsSync(join(root, file))).toBe(true)
    expect(file).not.toMatch(/_page\.ts$/)
  }
})
