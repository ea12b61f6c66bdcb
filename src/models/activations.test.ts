import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ResourceError } from '../tensor/errors.ts'
import { currentKernels, scope, type Tensor, tensor } from '../tensor/index.ts'
import { ActivationSet } from './activations.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const filled = (value: number, count = 4) => tensor(new Float32Array(count).fill(value), [count / 2, 2])

let scratch: string
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'activations-test-'))
})
afterEach(() => rmSync(scratch, { recursive: true, force: true }))

test.each([
  ['in memory', 2 ** 20],
  ['in the file', 0],
  ['in both', 40],
])('tensors come back with shape and type: %s', (_, memoryLimit) => {
  const set = new ActivationSet({ memoryLimit, scratch })
  const stored = [filled(1), tensor([1, 2, 3], [3], 'u32'), tensor([0.5, -2], [1, 2], 'f16'), filled(7, 600)]
  for (const [sample, x] of stored.entries()) set.write(sample, 'hidden', x)
  for (const [sample, x] of stored.entries()) {
    const found = set.read(sample, 'hidden')
    expect([found.dtype, found.shape, numbers(found)]).toEqual([x.dtype, x.shape, numbers(x)])
  }
  set.close()
})
test('memory takes tensors up to the limit, the file the rest in whole pages', () => {
  const set = new ActivationSet({ memoryLimit: 40, scratch })
  for (let sample = 0; sample < 4; sample++) set.write(sample, 'hidden', filled(sample))
  expect(set.usage()).toEqual({ memoryBytes: 32, fileBytes: 2 * 4096 })
  set.close()
})
test('a tensor that replaces another takes its place in the file', () => {
  const set = new ActivationSet({ memoryLimit: 0, scratch })
  for (let i = 0; i < 5; i++) set.write(0, 'hidden', filled(i))
  expect(set.usage().fileBytes).toBe(4096)
  expect(numbers(set.read(0, 'hidden'))).toEqual([4, 4, 4, 4])
  set.write(0, 'hidden', filled(9, 2000)) // two pages: does not fit the old place
  set.write(1, 'hidden', filled(8)) // which is vacant now
  expect(set.usage().fileBytes).toBe(3 * 4096)
  expect([set.read(0, 'hidden').size, numbers(set.read(1, 'hidden'))]).toEqual([2000, [8, 8, 8, 8]])
  set.close()
})
test('what is removed is gone, and its place in memory or file is used again', () => {
  for (const memoryLimit of [16, 0]) {
    const set = new ActivationSet({ memoryLimit, scratch })
    set.write(0, 'a', filled(1))
    set.write(0, 'b', filled(2))
    const before = set.usage()
    expect(set.names(0)).toEqual(['a', 'b'])
    set.remove(0, 'a')
    set.remove(0, 'never there')
    expect([set.has(0, 'a'), set.has(0, 'b'), set.names(0), set.names(1)]).toEqual([false, true, ['b'], []])
    expect(() => set.read(0, 'a')).toThrow(/sample 0 has no a/)
    set.write(3, 'c', filled(3))
    expect(set.usage()).toEqual(before)
    expect([numbers(set.read(0, 'b')), numbers(set.read(3, 'c'))]).toEqual([
      [2, 2, 2, 2],
      [3, 3, 3, 3],
    ])
    set.close()
  }
})
test('names of sample 1 are not those of sample 11', () => {
  const set = new ActivationSet()
  set.write(11, 'hidden', filled(1))
  expect([set.names(1), set.names(11)]).toEqual([[], ['hidden']])
  set.close()
})
test('stored values outlive their scope, and what is read belongs to the reader', () => {
  const before = currentKernels().memory().tensors
  const set = new ActivationSet({ memoryLimit: 16, scratch })
  scope(() => {
    set.write(0, 'kept', filled(1))
    set.write(0, 'spilled', filled(2))
  })
  for (const name of ['kept', 'spilled']) {
    scope(() => void set.read(0, name))
    expect(scope(() => numbers(set.read(0, name)))).toEqual(Array(4).fill(name === 'kept' ? 1 : 2))
  }
  set.close()
  expect(currentKernels().memory().tensors).toBe(before)
})
test('a view is stored as the numbers it shows', () => {
  for (const memoryLimit of [2 ** 20, 0]) {
    const set = new ActivationSet({ memoryLimit, scratch })
    const x = tensor([1, 2, 3, 4, 5, 6], [3, 2])
    set.write(0, 'turned', x.transpose())
    set.write(0, 'first', x.slice(0, 0, 1))
    set.write(0, 'last', x.slice(0, 2, 3))
    x.dispose()
    expect(['turned', 'first', 'last'].map((name) => numbers(set.read(0, name)))).toEqual([
      [1, 3, 5, 2, 4, 6],
      [1, 2],
      [5, 6],
    ])
    set.close()
  }
})
test('the file has no name while it is used, so that nothing is left however the process ends', () => {
  const set = new ActivationSet({ memoryLimit: 0, scratch })
  set.write(0, 'hidden', filled(1))
  expect(readdirSync(scratch)).toEqual([])
  expect(numbers(set.read(0, 'hidden'))).toEqual([1, 1, 1, 1])
  set.close()
  expect(readdirSync(scratch)).toEqual([])
})
test('a folder that cannot be used is an error with the folder and the way out', () => {
  for (const folder of [join(scratch, 'missing'), '/dev/null']) {
    const set = new ActivationSet({ memoryLimit: 0, scratch: folder })
    const write = () => set.write(0, 'hidden', filled(1))
    expect(write).toThrow(ResourceError)
    expect(write).toThrow(/could not be opened .*--scratch/)
    set.close()
  }
})
test('what memory holds needs no folder', () => {
  const set = new ActivationSet({ scratch: join(scratch, 'missing') })
  set.write(0, 'hidden', filled(1))
  expect(numbers(set.read(0, 'hidden'))).toEqual([1, 1, 1, 1])
  set.close()
})
