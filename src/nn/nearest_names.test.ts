import fc from 'fast-check'
import { expect, test } from 'vitest'
import { globTokens, patternMatches } from './name_pattern.ts'
import { globDistance, nearestField, nearestNames } from './nearest_names.ts'

const names = ['model.layers.0.mlp.up_proj.weight', 'model.layers.0.mlp.down_proj.weight', 'lm_head.weight']

test.each([
  ['lm_haed', 'lm_head.weight'],
  ['model.layer.0.mlp.up_proj', 'model.layers.0.mlp.up_proj.weight'],
  ['model.layers.*.mlp.donw_proj', 'model.layers.0.mlp.down_proj.weight'],
  ['re:^model\\..*donw_proj', 'model.layers.0.mlp.down_proj.weight'],
])('%s is nearest to %s', (pattern, name) => {
  expect(nearestNames(pattern, names)[0]).toBe(name)
})
test('of equals the earlier comes first, and there are three at most', () => {
  expect(nearestNames('x', ['b', 'a', 'c', 'd'])).toEqual(['b', 'a', 'c'])
  expect(nearestNames('x', [])).toEqual([])
})
test('a misspelt field is found', () => {
  expect(nearestField('grupSize', ['bits', 'groupSize', 'scheme'])).toBe('groupSize')
  expect(nearestField('group_size', ['bits', 'groupSize', 'scheme'])).toBe('groupSize')
})

/** Edits by trying all of them. */
function slowDistance(tokens: readonly string[], name: string): number {
  const ends = name === '' || name[0] === '.' ? 0 : Number.POSITIVE_INFINITY
  const [token, ...rest] = tokens
  const left = name === '' ? Number.POSITIVE_INFINITY : 1 + slowDistance(tokens, name.slice(1))
  if (token === undefined) return Math.min(ends, left)
  if (token.startsWith('*')) {
    const takes = name !== '' && (token.length > 1 || name[0] !== '.')
    return Math.min(
      slowDistance(rest, name),
      left,
      takes ? slowDistance(tokens, name.slice(1)) : Number.POSITIVE_INFINITY,
    )
  }
  const same = token === '?' ? name[0] !== '.' : token === name[0]
  const replaced = name === '' ? Number.POSITIVE_INFINITY : Number(!same) + slowDistance(rest, name.slice(1))
  return Math.min(1 + slowDistance(rest, name), left, replaced)
}
test('the distance is the fewest edits, and 0 exactly where the pattern matches', () => {
  const text = (characters: string[]) =>
    fc.array(fc.constantFrom(...characters), { maxLength: 5 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(text(['a', 'b', '.', '*', '**', '?']), text(['a', 'b', '.']), (glob, name) => {
      const tokens = globTokens(glob)
      expect(globDistance(tokens, name)).toBe(slowDistance(tokens, name))
      expect(globDistance(tokens, name) === 0).toBe(patternMatches('match', glob, [name])[0])
    }),
    { numRuns: 500 },
  )
})
