import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { SourceError, StateError } from '../../tensor/errors.ts'
import { SensitivityCache, type SensitivityRow } from './sensitivity_cache.ts'

const folder = mkdtempSync(join(tmpdir(), 'cache-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

const row = (digit: string, extra: object = { kl: 0.5 }): SensitivityRow =>
  ({ key: digit.repeat(64), weight: 'w', level: '4', ...extra }) as SensitivityRow
let count = 0
const fresh = () => new SensitivityCache(folder, `source-${++count}`)
const again = ({ path }: SensitivityCache) =>
  new SensitivityCache(folder, path.split('/').at(-1)!.slice(0, -6))
const found = (cache: SensitivityCache, digit: string) => cache.find(digit.repeat(64), 'w', '4')

test('what is added is found by whoever opens the cache later, for the same weight and level only', () => {
  const cache = fresh()
  expect(found(cache, 'a')).toBeUndefined()
  cache.add([row('a'), row('b', { relativeError: 0.1, energy: 2 })])
  for (const each of [cache, again(cache)]) {
    expect(found(each, 'a')).toEqual(row('a'))
    expect(found(each, 'b')).toEqual(row('b', { relativeError: 0.1, energy: 2 }))
    expect(each.find('a'.repeat(64), 'other', '4')).toBeUndefined()
    expect(each.find('a'.repeat(64), 'w', '8')).toBeUndefined()
  }
})
test('nothing is written where nothing is added', () => {
  const cache = fresh()
  cache.add([])
  expect(() => statSync(cache.path)).toThrow(/ENOENT/)
})
test('a line that was cut is left out wherever it was cut, and costs no other line', () => {
  const cache = fresh()
  cache.add([row('a'), row('b')])
  const { length } = readFileSync(cache.path)
  for (let cut = length; cut >= length / 2; cut -= 7) {
    truncateSync(cache.path, cut)
    const after = again(cache)
    expect(found(after, 'a')).toEqual(cut >= length / 2 ? row('a') : undefined)
    if (cut < length - 1) expect(found(after, 'b')).toBeUndefined()
  }
  const after = again(cache)
  after.add([row('c')])
  expect([found(again(cache), 'a'), found(again(cache), 'c')]).toEqual([row('a'), row('c')])
})
test.each([
  ['no JSON', 'dear diary'],
  ['a list', '[]'],
  ['another key', JSON.stringify({ ...row('a'), key: 'a' })],
  ['a field too many', JSON.stringify({ ...row('a'), more: 1 })],
  ['both kinds of error', JSON.stringify({ ...row('a'), relativeError: 1, energy: 1 })],
  ['no number', JSON.stringify({ ...row('a'), kl: 'far' })],
  ['an infinite number', JSON.stringify(row('a')).replace('0.5', '1e999')],
  ['an error below 0', JSON.stringify({ ...row('a', {}), relativeError: -1, energy: 1 })],
  ['bytes that are no text', '\uFFFD\0\0'],
])('a foreign line is left out: %s', (_, line) => {
  const cache = fresh()
  cache.add([row('b')])
  writeFileSync(cache.path, `${line}\n${readFileSync(cache.path, 'utf8')}${line}\n`)
  expect([found(again(cache), 'a'), found(again(cache), 'b')]).toEqual([undefined, row('b')])
})
test('a file that is no cache of sensitivities, by its size, is refused', () => {
  const cache = fresh()
  cache.add([row('a')])
  truncateSync(cache.path, 2 ** 28 + 1)
  expect(() => again(cache)).toThrow(StateError)
  expect(() => again(cache)).toThrow(/remove it/)
})
test('a cache that cannot be written says where another one can be', () => {
  writeFileSync(join(folder, 'file'), '')
  const cache = new SensitivityCache(join(folder, 'file'), 'source')
  expect(() => cache.add([row('a')])).toThrow(SourceError)
})
