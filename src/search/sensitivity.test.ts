import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { allocate } from './allocate.ts'
import { allocationItems, type Sensitivity, sensitivityKey } from './sensitivity.ts'

const kl = (weight: string, level: string, cost: number, value: number, standardError?: number) => ({
  weight,
  level,
  cost,
  kl: value,
  ...(standardError === undefined ? {} : { standardError }),
})
const errorsOf = (sensitivities: Sensitivity[]) =>
  allocationItems({ sensitivities })[0]!.choices.map(({ error }) => error)

describe('errors of a weight', () => {
  test('they come by bytes, and a measured fall stays as it is', () => {
    const sensitivities = [kl('w', 'q4', 40, 0.25), kl('w', 'q2', 20, 2), kl('w', 'q3', 30, 1)]
    expect(allocationItems({ sensitivities })).toEqual([
      {
        name: 'w',
        choices: [
          { level: 'q2', cost: 20, error: 2 },
          { level: 'q3', cost: 30, error: 1 },
          { level: 'q4', cost: 40, error: 0.25 },
        ],
      },
    ])
  })
  test('a rise with bytes is noise: both get the mean, and the smaller is allocated', () => {
    const sensitivities = [kl('w', 'q3', 30, 0.5), kl('w', 'q4', 40, 1), kl('w', 'q8', 80, 0)]
    expect(errorsOf(sensitivities)).toEqual([0.75, 0.75, 0])
    const { chosen } = allocate({ items: allocationItems({ sensitivities }), budget: 50 })
    expect(chosen[0]!.level).toBe('q3')
  })
  test('with standard errors the precise value moves less', () => {
    // Weights 1 and 1/4: (0.5 * 4 + 1) / 5.
    expect(errorsOf([kl('w', 'a', 1, 0.5, 0.125), kl('w', 'b', 2, 1, 0.25)])).toEqual([0.6, 0.6])
  })
  test('a standard error of 0 does not decide alone', () => {
    const [a, b] = errorsOf([kl('w', 'a', 1, 0.5, 0), kl('w', 'b', 2, 1, 0.25)])
    expect(a).toBe(b)
    expect(a).toBeGreaterThan(0.5)
  })
  test('a KL that rounding made negative is 0', () => {
    expect(errorsOf([kl('w', 'a', 1, 0.5), kl('w', 'b', 2, -1e-9)])).toEqual([0.5, 0])
  })
  test('levels with equal bytes keep different errors', () => {
    expect(errorsOf([kl('w', 'a', 2, 0.25), kl('w', 'b', 2, 0.5), kl('w', 'c', 3, 0.125)])).toEqual([
      0.5, 0.25, 0.125,
    ])
  })
  test('levels of different families are fitted apart', () => {
    const sensitivities = [
      kl('w', 'gptq 3', 30, 0.25),
      kl('w', 'rtn 4', 40, 0.5),
      kl('w', 'gptq 4', 41, 0.125),
    ]
    const familyOf = (level: string) => level.split(' ')[0]!
    const choices = allocationItems({ sensitivities, familyOf })[0]!.choices
    expect(choices.map(({ error }) => error)).toEqual([0.25, 0.5, 0.125])
  })
  test('a proxy is the relative error times the energy', () => {
    const sensitivities = [
      { weight: 'w', level: 3, cost: 1, relativeError: 0.25, energy: 8 },
      { weight: 'w', level: 4, cost: 2, relativeError: 0.0625, energy: 8 },
    ]
    expect(allocationItems({ sensitivities })[0]!.choices.map(({ error }) => error)).toEqual([2, 0.5])
  })
})

describe('groups', () => {
  const sensitivities = [
    kl('q', 'q3', 30, 0.5),
    kl('down', 'q3', 90, 1),
    kl('k', 'q4', 14, 0.125),
    kl('k', 'q3', 10, 0.25),
    kl('q', 'q4', 40, 0.25),
  ]
  test('a group is one item with the sums of its weights, where its first weight stands', () => {
    expect(allocationItems({ sensitivities, groups: { qk: ['k', 'q'] } })).toEqual([
      {
        name: 'qk',
        choices: [
          { level: 'q3', cost: 40, error: 0.75 },
          { level: 'q4', cost: 54, error: 0.375 },
        ],
      },
      { name: 'down', choices: [{ level: 'q3', cost: 90, error: 1 }] },
    ])
  })
  test('the fit is over the sums: a rise of one weight is no rise where the other falls by more', () => {
    const rising = [kl('a', 'x', 1, 4), kl('a', 'y', 2, 1), kl('b', 'x', 1, 1), kl('b', 'y', 2, 2)]
    const [group] = allocationItems({ sensitivities: rising, groups: { ab: ['a', 'b'] } })
    expect(group!.choices.map(({ error }) => error)).toEqual([5, 3])
  })
  test.each<[string, Record<string, string[]>, RegExp]>([
    [
      'different levels',
      { g: ['q', 'down'] },
      /g: its weights need the same levels, q3, q4, but down has q3/,
    ],
    ['a weight that was not measured', { g: ['q', 'v'] }, /g: v has no sensitivity/],
    ['a weight in two groups', { g: ['q'], h: ['q', 'k'] }, /q: is in two groups/],
    ['the name of another weight', { down: ['q', 'k'] }, /down: is a weight and the name of a group/],
  ])('%s is refused', (_, groups, message) => {
    expect(() => allocationItems({ sensitivities, groups })).toThrow(
      expect.objectContaining({ constructor: OptionError, message: expect.stringMatching(message) }),
    )
  })
})

test.each<[string, Sensitivity[], RegExp]>([
  [
    'a KL beside a proxy',
    [kl('w', 'a', 1, 1), { weight: 'w', level: 'b', cost: 2, relativeError: 1, energy: 1 }],
    /b: has a proxy/,
  ],
  ['a level that is there twice', [kl('w', 'a', 1, 1), kl('w', 'a', 2, 1)], /w, a: is there twice/],
  ['a KL that is no number', [kl('w', 'a', 1, Number.NaN)], /w, a: kl must be finite, got NaN/],
  [
    'a negative proxy',
    [{ weight: 'w', level: 'a', cost: 1, relativeError: -1, energy: 1 }],
    /relativeError .*from 0 on/,
  ],
])('%s is refused', (_, sensitivities, message) => {
  expect(() => allocationItems({ sensitivities })).toThrow(
    expect.objectContaining({ constructor: OptionError, message: expect.stringMatching(message) }),
  )
})

describe('the key of a measurement', () => {
  const measurement = { weight: 'w', level: 'q4', sourceHash: 's', dataHash: 'd' }
  test('it is SHA-256 of the four with a name in front', () => {
    // printf '["pare sensitivity 1","w","q4","s","d"]' | sha256sum
    expect(sensitivityKey(measurement)).toBe(
      'd8acadbfb5fef96a758124d9e04197ee62879f7012477fc32aed55f0003405d0',
    )
  })
  test('it differs where any of the four does, and where text moves from one to the next', () => {
    const others = [
      { weight: 'v' },
      { level: 'q5' },
      { level: 4 },
      { level: '4' },
      { sourceHash: 't' },
      { dataHash: 'e' },
      { sourceHash: 'sd', dataHash: '' },
      { weight: 'w","q4' },
    ].map((change) => sensitivityKey({ ...measurement, ...change }))
    expect(new Set([...others, sensitivityKey(measurement)]).size).toBe(others.length + 1)
  })
})
