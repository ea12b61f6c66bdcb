import { expect, test } from 'vitest'
import { byteSize, decibels, duration, fixed, percent } from './numbers.ts'

test('numbers have a true minus, and what is none is a dash', () => {
  expect([fixed(-31.44, 1), fixed(0, 2), percent(0.0123), percent(1, 0)]).toEqual([
    '−31.4',
    '0.00',
    '1.2%',
    '100%',
  ])
  for (const value of [undefined, null, Number.NaN, Infinity])
    expect([fixed(value, 1), byteSize(value), duration(value), percent(value)]).toEqual(['–', '–', '–', '–'])
})
test('sizes are in powers of 1000', () => {
  expect([0, 999, 1000, 88_201_792, 14_000_000_000].map(byteSize)).toEqual([
    '0 bytes',
    '999 bytes',
    '1.0 kB',
    '88.2 MB',
    '14.00 GB',
  ])
})
test('times are in the units that fit, and never say 60 s', () => {
  expect([0, 59.94, 59.96, 500.6, 3569, 3600, 7500].map(duration)).toEqual([
    '0.0 s',
    '59.9 s',
    '1 min 0 s',
    '8 min 21 s',
    '59 min 29 s',
    '1 h 0 min',
    '2 h 5 min',
  ])
})
test('a ratio of energies in decibels', () => {
  expect([decibels(0.001), decibels(1), decibels(0)]).toEqual([-30, 0, -Infinity])
})
