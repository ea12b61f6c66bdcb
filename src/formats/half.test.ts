import { expect, test } from 'vitest'
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from './half.ts'

test('every f16 comes back from its value, subnormals and infinities too', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = f16ToNumber(bits)
    if (Number.isNaN(value)) expect(Number.isNaN(f16ToNumber(numberToF16(value)))).toBe(true)
    else if (numberToF16(value) !== bits) expect.unreachable(`0x${bits.toString(16)}`)
  }
})
test.each([
  [1, 0x3c00],
  [-2, 0xc000],
  [2 ** -24, 1],
  [2 ** -14, 0x400],
  [65504, 0x7bff],
  [65519, 0x7bff],
  [65520, 0x7c00],
  [2 ** -25, 0],
  [3 * 2 ** -25, 2],
  [2 ** -25 * 1.0001, 1],
  [1 + 2 ** -11, 0x3c00],
  [1 + 3 * 2 ** -11, 0x3c02],
  [2 - 2 ** -12, 0x4000],
  [2 ** -14 - 2 ** -25, 0x400],
  [1e-30, 0],
  [-0, 0x8000],
])('%f becomes the nearest f16, halves going to even', (value, bits) => {
  expect(numberToF16(value)).toBe(bits)
})
test('values between two f16 go to the nearer one', () => {
  for (let bits = 0; bits < 0x7bff; bits += 7) {
    const [low, high] = [f16ToNumber(bits), f16ToNumber(bits + 1)]
    expect(numberToF16(Math.fround(low + (high - low) * 0.25))).toBe(bits)
    expect(numberToF16(Math.fround(low + (high - low) * 0.75))).toBe(bits + 1)
  }
})
test('bfloat16 keeps the upper half of an f32, halves going to even', () => {
  expect(numberToBf16(1)).toBe(0x3f80)
  expect(numberToBf16(1 + 2 ** -8)).toBe(0x3f80)
  expect(numberToBf16(1 + 3 * 2 ** -8)).toBe(0x3f82)
  expect(numberToBf16(3.4e38)).toBe(0x7f80)
  expect(bf16ToNumber(numberToBf16(Number.NaN))).toBeNaN()
  for (let bits = 0; bits < 0x7f80; bits++)
    if (numberToBf16(bf16ToNumber(bits)) !== bits) expect.unreachable()
})
