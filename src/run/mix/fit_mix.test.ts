import { afterAll, describe, expect, test } from 'vitest'
import { fixturePath } from '../../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../../models/load_model.ts'
import type { Sensitivity } from '../../search/sensitivity.ts'
import { OptionError } from '../../tensor/errors.ts'
import { type CompressOptions, resolveOptions } from '../compress_options.ts'
import { fitMix, sizeRange } from './fit_mix.ts'
import { type MixChoice, type MixSpace, mixSpace, mixText, overridesOf } from './mix_space.ts'
import { uniformMix } from './uniform_mix.ts'

const source = openLanguageModel(fixturePath('llama-f16.gguf'))
afterAll(() => source.close())

function spaceOf(extra: Partial<CompressOptions>): MixSpace {
  const options = resolveOptions({ source: 'm', output: 'o', limits: { targetBpw: 8 }, ...extra })
  return mixSpace(source, options, options.mix!)
}
const spaces: [string, MixSpace][] = [
  ['pare', spaceOf({ groupSize: 16 })],
  ['gguf', spaceOf({ target: 'gguf' })],
]
const sensitivities = ({ items }: MixSpace, kl: (index: number, level: number) => number): Sensitivity[] =>
  items.flatMap(({ name, choices }, i) =>
    choices.map(({ level, cost }, j) => ({ weight: name, level, cost, kl: kl(i, j) })),
  )
const ends = (space: MixSpace) =>
  [0, -1].map((at) => space.planOf(space.items.map(({ choices }) => choices.at(at)!)).fileBytes) as [
    number,
    number,
  ]
const bytesOf = (space: MixSpace, chosen: readonly MixChoice[]) => space.planOf(chosen).fileBytes

describe.each(spaces)('%s', (_, space) => {
  const [least, most] = ends(space)
  test('the cost of a choice is what it adds to the file, but for the header', () => {
    const low = space.items.map(({ choices }) => choices[0]!)
    for (const [i, { choices }] of space.items.entries())
      for (const choice of choices.slice(1)) {
        const added = bytesOf(space, low.with(i, choice)) - least
        expect(Math.abs(added - (choice.cost - choices[0]!.cost))).toBeLessThanOrEqual(64)
      }
  })
  test('every size is met from below, whatever the errors are', () => {
    const kinds = [
      () => 0,
      (i: number, j: number) => (i + 1) / 2 ** (2 * j),
      (i: number, j: number) => (((i * 7919 + j * 104729) % 97) - 20) / 97,
    ]
    for (const kl of kinds)
      for (let targetSize = least; targetSize <= most; targetSize += Math.ceil((most - least) / 23)) {
        const chosen = fitMix(space, { targetSize }, sensitivities(space, kl))
        const bytes = bytesOf(space, chosen)
        expect(bytes).toBeLessThanOrEqual(targetSize)
        const range = sizeRange({ targetSize }, space)
        expect(bytes).toBeGreaterThanOrEqual(range.least)
        expect(range.most).toBe(targetSize)
      }
  })
  test('the bytes go to the matrix that gains by them', () => {
    for (const [index, { name, choices }] of space.items.entries()) {
      const targetSize = least + choices.at(-1)!.cost - choices[0]!.cost + 64
      const chosen = fitMix(
        space,
        { targetSize },
        sensitivities(space, (i, j) => (i === index ? 1 / 2 ** j : 0)),
      )
      expect(chosen[index]!.level, name).toBe(choices.at(-1)!.level)
    }
  })
  test('the smallest and the largest size are possible, and none beyond them', () => {
    const flat = sensitivities(space, () => 1)
    for (const targetSize of [least, most])
      expect(bytesOf(space, fitMix(space, { targetSize }, flat))).toBe(targetSize)
    for (const targetSize of [least - 1, most + 1]) {
      expect(() => fitMix(space, { targetSize }, flat)).toThrow(OptionError)
      expect(() => fitMix(space, { targetSize }, flat)).toThrow(`${least} to ${most} bytes are possible`)
    }
  })
  test('the uniform mix is the largest level that fits, and the next one in the order of the file', () => {
    for (let bytes = least; bytes <= most; bytes += Math.ceil((most - least) / 11)) {
      const { chosen, name } = uniformMix(space, bytes)!
      expect(bytesOf(space, chosen)).toBeLessThanOrEqual(bytes)
      const steps = chosen.map((choice, i) => space.items[i]!.ladder.lastIndexOf(choice))
      expect(new Set(chosen.map(({ level }) => level)).size, name).toBeLessThanOrEqual(4)
      // What was raised comes before what could have been but for its size.
      const room = bytes - bytesOf(space, chosen)
      for (const [i, step] of steps.entries()) {
        const next = space.items[i]!.ladder[step + 1]
        if (next && steps.every((other) => other <= step)) continue
        if (next) expect(next.cost - chosen[i]!.cost).toBeGreaterThan(room - 64)
      }
    }
    expect(uniformMix(space, least - 1)).toBeUndefined()
    expect(uniformMix(space, most)!.name).not.toContain(' of ')
  })
  test('overrides ask for a choice by the exact name', () => {
    const chosen = space.items.map(({ choices }, i) => choices[i % choices.length]!)
    const overrides = overridesOf(space, chosen)
    expect(overrides.map(({ match }) => match)).toEqual(space.items.map(({ name }) => name))
    expect(overrides.map(({ bits, scheme }) => String(bits ?? scheme))).toEqual(
      chosen.map(({ level }) => level),
    )
    expect(mixText(chosen)).toMatch(/^\d+ at .+, \d+ at /)
  })
})
test('levels for which the same type stands in are one', () => {
  const [, { items }] = spaces[1]!
  for (const { choices, ladder } of items) {
    expect(new Set(choices.map(({ level }) => level)).size).toBe(choices.length)
    // Rows of the fixture are shorter than 256: Q2_K and Q3_K are both IQ4_NL.
    expect(ladder).toHaveLength(6)
    expect(choices.length).toBeLessThan(6)
  }
})
