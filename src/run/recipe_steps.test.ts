import { describe, expect, test } from 'vitest'
import { pathText } from './option_fields.ts'
import type { RecipeStep } from './recipe.ts'
import { flattenSteps, mostSteps } from './recipe_steps.ts'

const flat = (steps: readonly RecipeStep[]) => flattenSteps(steps, pathText).map(({ at: _, ...step }) => step)

test('steps stay in their order, and each knows where it was written', () => {
  const steps = flattenSteps(
    [{ method: 'rtn' }, { repeat: { times: 2, steps: [{ method: 'gptq', bits: 3 }] } }],
    pathText,
  )
  expect(steps).toEqual([
    { method: 'rtn', at: 'steps[0]' },
    { method: 'gptq', bits: 3, at: 'steps[1].repeat.steps[0]' },
    { method: 'gptq', bits: 3, at: 'steps[1].repeat.steps[0]' },
  ])
})
test('forEach puts its values into texts; a text that is one name becomes the value with its type', () => {
  expect(
    flat([
      {
        forEach: {
          name: 'n',
          values: [2, 3],
          steps: [{ bits: `\${n}`, only: [`model.layers.\${n}.*`, `model.layers.1\${n}.*`] }],
        },
      },
    ]),
  ).toEqual([
    { bits: 2, only: ['model.layers.2.*', 'model.layers.12.*'] },
    { bits: 3, only: ['model.layers.3.*', 'model.layers.13.*'] },
  ])
})
test('groups nest, and the inner name hides the outer one', () => {
  const inner: RecipeStep = { forEach: { name: 'a', values: ['x'], steps: [{ only: [`\${a}.\${b}`] }] } }
  expect(
    flat([
      {
        forEach: {
          name: 'a',
          values: ['y'],
          steps: [{ forEach: { name: 'b', values: ['1', '2'], steps: [inner] } }],
        },
      },
    ]),
  ).toEqual([{ only: ['x.1'] }, { only: ['x.2'] }])
})
test('an expression with a brace after a dollar sign is not a name unless it is closed', () => {
  expect(flat([{ only: ['re:weight$', 're:a{2}$'] }])).toEqual([{ only: ['re:weight$', 're:a{2}$'] }])
})

describe('what is refused', () => {
  test.each<[string, unknown, RegExp]>([
    [
      'a name that no group has',
      [{ only: [`\${a}`] }],
      /^steps\[0\]\.only\[0\]: \$\{a\} is the name of no forEach around it \(none\)/,
    ],
    [
      'a value of a wrong type',
      [{ forEach: { name: 'n', values: ['x'], steps: [{ bits: `\${n}` }] } }],
      /^steps\[0\]\.forEach\.steps\[0\]\.bits: a number .* got "x"/,
    ],
    [
      'a group beside a field',
      [{ repeat: { times: 1, steps: [{}] }, bits: 3 }],
      /^steps\[0\]: there is no field bits; the nearest is repeat/,
    ],
    [
      'a group without steps',
      [{ repeat: { times: 256, steps: [] } }],
      /^steps\[0\]\.repeat\.steps: a list of one step or more/,
    ],
    [
      'a group without times',
      [{ repeat: { steps: [{}] } }],
      /repeat\.times: a whole number from 1 to 256 is needed, got nothing/,
    ],
    ['1e9 times', [{ repeat: { times: 1e9, steps: [{}] } }], /from 1 to 256 is needed, got 1000000000/],
    ['a name with a dot', [{ forEach: { name: 'a.b', values: [1], steps: [{}] } }], /name of letters/],
    [
      'a value that is a map',
      [{ forEach: { name: 'a', values: [{}], steps: [{}] } }],
      /values\[0\]: a text, a number/,
    ],
    ['a step that is a text', ['rtn'], /^steps\[0\]: a map of method, .* is needed, got "rtn"/],
    ['a group inside of many', nested(20), /nest at most 16 deep/],
  ])('%s', (_, steps, message) => {
    expect(() => flattenSteps(steps, pathText)).toThrow(message)
  })
  test('more steps than there may be, however they are written', () => {
    const times = (n: number): RecipeStep[] => [{ repeat: { times: n, steps: [{ method: 'rtn' }] } }]
    expect(flat(times(mostSteps))).toHaveLength(mostSteps)
    expect(() => flat([...times(mostSteps), { method: 'rtn' }])).toThrow(
      /^steps\[1\]: a recipe has at most 256 steps/,
    )
  })
})

function nested(depth: number): RecipeStep[] {
  return depth === 0 ? [{ method: 'rtn' }] : [{ repeat: { times: 1, steps: nested(depth - 1) } }]
}
