import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { cutWindows, tokensOfWindows } from './windows.ts'

const tokens = Uint32Array.from({ length: 45 }, (_, i) => i + 100)
const starts = (options: Parameters<typeof cutWindows>[1]) =>
  cutWindows(tokens, options).windows.map((w) => w[0]! - 100)

test('windows do not overlap and the rest of the text is left out', () => {
  const { windows, protocol, firstScored, note } = cutWindows(tokens, { context: 10, count: 4 })
  expect(windows.map((w) => [w[0], w.length])).toEqual([
    [100, 10],
    [110, 10],
    [120, 10],
    [130, 10],
  ])
  expect([protocol, firstScored, note]).toEqual(['10/nonoverlap', 0, undefined])
})
test('every n-th window may be taken', () => {
  expect(starts({ context: 10, every: 2 })).toEqual([0, 20])
  expect(starts({ context: 5, every: 3, count: 2 })).toEqual([0, 15])
})
test('a text with fewer windows gives all it has and says so', () => {
  expect(cutWindows(tokens, { context: 10, count: 5 }).note).toBe(
    'the text holds 4 of the 5 windows asked for',
  )
})
test('llama.cpp windows score their second half and begin with BOS where the model has one', () => {
  const { windows, protocol, firstScored } = cutWindows(tokens, {
    context: 10,
    protocol: 'llama.cpp',
    bos: 1,
  })
  expect(windows.map((w) => [w[0], w[1]])).toEqual([
    [1, 101],
    [1, 111],
    [1, 121],
    [1, 131],
  ])
  expect([protocol, firstScored]).toEqual(['llama.cpp/10', 5])
  expect(tokens[0]).toBe(100)
  expect(cutWindows(tokens, { context: 10, protocol: 'llama.cpp' }).windows[1]![0]).toBe(110)
})
test('BOS is left out of windows that score everything', () => {
  expect(starts({ context: 10, bos: 1 })).toEqual([0, 10, 20, 30])
})
test('a text shorter than one window, and counts that cannot be, are refused', () => {
  expect(() => cutWindows(tokens, { context: 46 })).toThrow(
    expect.objectContaining({ code: 'PARE_E_SHORT_TEXT' }),
  )
  for (const options of [{ context: 1 }, { context: 2.5 }, { count: 0 }, { every: 0 }])
    expect(() => cutWindows(tokens, options)).toThrow(OptionError)
})
test('the tokens behind the last window are not needed', () => {
  for (const options of [
    { context: 10, count: 2 },
    { context: 5, every: 3, count: 2 },
    { context: 3, every: 2, count: 4 },
  ]) {
    const needed = tokensOfWindows(options)
    expect(cutWindows(tokens.slice(0, needed), options)).toEqual(cutWindows(tokens, options))
    expect(cutWindows(tokens.slice(0, needed - 1), options).windows.length).toBe(options.count - 1)
  }
  expect(tokensOfWindows()).toBe(20 * 512)
  expect(() => tokensOfWindows({ count: 0 })).toThrow(OptionError)
})
