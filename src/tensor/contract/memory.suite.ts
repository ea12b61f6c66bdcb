import { expect } from 'vitest'
import { asStorage, bytesOf, type DType, dtypes, sizeOf, storageArray } from '../dtype.ts'
import { ShapeError } from '../errors.ts'
import {
  add,
  arange,
  cast,
  currentKernels,
  detach,
  explicitAttention,
  fromBytes,
  full,
  ones,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../index.ts'
import { State } from '../state.ts'
import { type Claim, exactTensor, expectNear, expectShape, valuesOf } from './claims.suite.ts'

/** Bytes that no number type repeats: 1, 2, 3, .. */
const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 37 + 1) & 0x7f)

export function memoryClaims(claim: Claim): void {
  for (const dtype of dtypes) {
    claim(`${dtype}: bytes come back as they were given, also through views`, () => {
      const size = sizeOf(dtype)
      const bytes = dtype === 'bool' ? Uint8Array.of(1, 0, 0, 1, 1, 1) : pattern(6 * size)
      const x = fromBytes(bytes, [2, 3], dtype)
      expect(x.bytes()).toEqual(bytes)
      const order = [0, 3, 1, 4, 2, 5]
      const turned = order.flatMap((i) => [...bytes.subarray(i * size, (i + 1) * size)])
      expect([...x.transpose().bytes()]).toEqual(turned)
      expect([...x.transpose().contiguous().bytes()]).toEqual(turned)
      expect(valuesOf(x.select(1, 2))).toEqual([2, 5].map((i) => valuesOf(x)[i]))
    })
  }
  claim('views of views read the right elements', () => {
    const x = arange(60).reshape([3, 4, 5])
    expect(valuesOf(x.slice(1, 1, 4, 2).slice(2, -2).transpose(0, 2).select(1, 1))).toEqual([
      18, 38, 58, 19, 39, 59,
    ])
    expect(valuesOf(x.slice(0, 1, 2).expand([2, 4, 5]).slice(2, 0, 1).reshape([-1]))).toEqual([
      20, 25, 30, 35, 20, 25, 30, 35,
    ])
    expectShape(x.slice(0, 2, 1), [0, 4, 5])
    expect(valuesOf(x.unsqueeze(0).squeeze(0).permute([2, 0, 1]).select(0, -1).select(0, 0))).toEqual([
      4, 9, 14, 19,
    ])
  })
  claim('reshape copies only where no strides fit', () => {
    const kernels = currentKernels()
    const x = arange(120).reshape([2, 3, 20])
    const start = kernels.memory().live
    const views: [Tensor, number[]][] = [
      [x.slice(2, 4, 16), [2, 3, 2, 6]],
      [x.slice(2, 4, 16), [6, 4, 1, 3]],
      [x.slice(2, 4, 5), [6]],
      [x.transpose(0, 1), [3, 1, 2, 4, 5]],
      [x.slice(0, 0, 1).expand([4, 3, 20]), [2, 2, 60]],
      [x.slice(2, 0, 20, 2), [60]],
    ]
    const reshaped = views.map(([view, shape]) => view.reshape(shape))
    expect(kernels.memory().live).toBe(start)
    for (const [i, [view, shape]] of views.entries()) {
      expectShape(reshaped[i]!, shape)
      expect(valuesOf(reshaped[i]!)).toEqual(valuesOf(view))
    }
    for (const view of [x.transpose(), x.slice(1, 0, 2), x.slice(0, 0, 1).expand([2, 3, 20])]) {
      expect(valuesOf(view.reshape([-1]))).toEqual(valuesOf(view))
    }
    expect(kernels.memory().live).toBeGreaterThan(start)
    expect(() => x.reshape([7, -1])).toThrow(/cannot hold/)
  })
  claim('empty tensors and tensors without axes have their place', () => {
    const empty = zeros([3, 0, 2])
    expect(empty.size).toBe(0)
    expect(empty.bytes().length).toBe(0)
    expectShape(empty.transpose().reshape([0, 5]), [0, 5])
    expect(full([], 2.5).item()).toBe(2.5)
    expect(valuesOf(full([], 2.5).expand([2, 2]))).toEqual([2.5, 2.5, 2.5, 2.5])
    expect(valuesOf(cast(zeros([0]), 'i8'))).toEqual([])
  })
  for (const dtype of dtypes) {
    claim(`${dtype}: fill puts the value everywhere`, () => {
      expect(valuesOf(full([2, 2], 1, dtype))).toEqual([1, 1, 1, 1])
      expect(valuesOf(zeros([3], dtype))).toEqual([0, 0, 0])
    })
  }
  claim('casts cut towards zero, saturate from floats, wrap from integers, and take NaN as 0', () => {
    const x = tensor([-1.9, 1.9, 300, -300, NaN, Infinity, -Infinity])
    const whole: [DType, number[]][] = [
      ['i8', [-1, 1, 127, -128, 0, 127, -128]],
      ['u8', [0, 1, 255, 0, 0, 255, 0]],
      ['i16', [-1, 1, 300, -300, 0, 32767, -32768]],
      ['u16', [0, 1, 300, 0, 0, 65535, 0]],
      ['i32', [-1, 1, 300, -300, 0, 2 ** 31 - 1, -(2 ** 31)]],
      ['u32', [0, 1, 300, 0, 0, 2 ** 32 - 1, 0]],
      ['bool', [1, 1, 1, 1, 1, 1, 1]],
    ]
    for (const [dtype, expected] of whole) expect(valuesOf(cast(x, dtype))).toEqual(expected)
    expect([...(cast(x, 'u64').toArray() as BigUint64Array)].at(-2)).toBe(2n ** 64n - 1n)
    expect(valuesOf(cast(tensor([257, -1], [2], 'i32'), 'u8'))).toEqual([1, 255])
    expect(valuesOf(cast(tensor([0, 0.25, -0]), 'bool'))).toEqual([0, 1, 0])
    const big = cast(tensor(BigUint64Array.of(2n ** 63n + 5n), [1], 'u64'), 'u32')
    expect(valuesOf(big)).toEqual([5])
  })
  claim('16-bit floats round to nearest even, once', () => {
    // Neighbours of 1 in bf16 are 2^-7 apart, in f16 2^-10; the third value stands just above a tie.
    const near = (step: number) => [1 + step / 2, 1 + 1.5 * step, 1 + step / 2 + 2 ** -40, 1 - step / 8]
    expect(valuesOf(tensor(near(2 ** -7), [4], 'bf16'))).toEqual([1, 1 + 2 ** -6, 1 + 2 ** -7, 1])
    expect(valuesOf(tensor(near(2 ** -10), [4], 'f16'))).toEqual([1, 1 + 2 ** -9, 1 + 2 ** -10, 1])
    expect(valuesOf(tensor([65504, 65519.9, 65520, -1e9, 2 ** -24, 2 ** -26, 2 ** -25], [7], 'f16'))).toEqual(
      [65504, 65504, Infinity, -Infinity, 2 ** -24, 0, 0],
    )
    expect(valuesOf(cast(tensor([3.3895e38, 3.4e38, -Infinity, NaN]), 'bf16'))).toEqual([
      255 * 2 ** 120,
      Infinity,
      -Infinity,
      NaN,
    ])
  })
  claim('every 16-bit float goes to f32 and back unchanged', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i)
    for (const dtype of ['bf16', 'f16'] as const) {
      const wide = cast(fromBytes(bytesOf(all), [65536], dtype), 'f32')
      const numbers = wide.toArray() as Float32Array
      const back = asStorage(dtype, cast(wide, dtype).bytes())
      expect(back.length).toBe(65536)
      const changed = all.filter((bits, i) => !Number.isNaN(numbers[i]!) && back[i] !== bits)
      expect([...changed]).toEqual([])
    }
  })
  claim('f64 holds every u32 and i32, and u64 keeps its bits where it is copied', () => {
    const edge = tensor([0, 2 ** 32 - 1, 2 ** 31], [3], 'u32')
    expect(valuesOf(cast(edge, 'f64'))).toEqual([0, 2 ** 32 - 1, 2 ** 31])
    expect(valuesOf(cast(cast(edge, 'f64'), 'u32'))).toEqual([0, 2 ** 32 - 1, 2 ** 31])
    const words = BigUint64Array.of(2n ** 64n - 1n, 2n ** 53n + 1n)
    expect(tensor(words, [2], 'u64').slice(0, 1).toArray()).toEqual(BigUint64Array.of(2n ** 53n + 1n))
  })
  claim('a scope frees all but what it returns, and says so when a freed tensor is used', () => {
    const kernels = currentKernels()
    const start = kernels.memory().tensors
    let lost: Tensor | undefined
    const kept = scope(() => {
      lost = add(ones([4]), 1)
      const inner = scope(() => ({ list: [add(lost!, 1)], other: ones([1]) }))
      return inner.list[0]!
    })
    expect(kernels.memory().tensors).toBe(start + 1)
    expect(valuesOf(kept)).toEqual([3, 3, 3, 3])
    expect(lost!.alive).toBe(false)
    expect(() => add(lost!, 1)).toThrow(ShapeError)
    expect(() => lost!.toArray()).toThrow(/no longer alive/)
    expect(() =>
      scope(() => {
        throw new RangeError('inside')
      }),
    ).toThrow('inside')
    expect(kernels.memory().tensors).toBe(start + 1)
  })
  claim('memory counts live bytes and their peak, and a view holds its buffer', () => {
    const kernels = currentKernels()
    const before = kernels.memory().live
    const half = scope(() => zeros([1024]).slice(0, 0, 512))
    expect(kernels.memory().live).toBe(before + 4096)
    kernels.resetPeak()
    scope(() => zeros([2048]))
    scope(() => {
      zeros([4096])
    })
    half.dispose()
    expect(kernels.memory().peak).toBe(before + 4096 + 8192 + 16384)
    expect(kernels.memory().live).toBe(before + 8192)
  })
  claim('detach takes a tensor to the scope around', () => {
    let seen: Tensor | undefined
    scope(() => {
      scope(() => {
        seen = detach(ones([2]))
      })
      expect(seen!.alive).toBe(true)
    })
    expect(seen!.alive).toBe(false)
  })
  claim('what an attention hook was handed outlives the call', () => {
    const seen: Tensor[] = []
    const x = exactTensor([1, 1, 2, 2])
    explicitAttention(x, x, x, { at: (_, tensor) => void seen.push(tensor) })
    expect(seen.map((tensor) => tensor.alive)).toEqual([true, true])
  })
  claim('a window that leaves its buffer is refused', () => {
    const kernels = currentKernels()
    const x = zeros([4])
    expect(() => kernels.restride(x.handle, [5], [1], 0)).toThrow()
    expect(() => kernels.restride(x.handle, [2], [2], 2)).toThrow()
    expect(() => kernels.restride(x.handle, [2], [1], -1)).toThrow()
    expect(() => kernels.upload('f32', [2], new Uint8Array(7))).toThrow()
  })
  claim('a state sums Gram products in place, and loads what it saved', () => {
    const sums = new State('h', [3, 3], 'f64')
    const x = exactTensor([5, 3])
    sums.addGram(x)
    const first = sums.value()
    sums.addGram(x.reshape([1, 5, 3]))
    expectNear(
      sums.value(),
      valuesOf(first).map((value) => 2 * value),
      { units: 0 },
    )
    const saved = sums.bytes()
    const other = new State('h', [3, 3], 'f64')
    other.load(saved)
    expect(other.bytes()).toEqual(saved)
    expect(() => other.load(saved.subarray(8))).toThrow(/needs 72 bytes, got 64/)
    expect(() => sums.addGram(exactTensor([5, 2]))).toThrow(/state h f64 \[3, 3\]/)
    for (const state of [sums, other]) state.dispose()
    expect(() => sums.value()).toThrow(/disposed/)
  })
  claim('rows of a state are set in place, and show in tensors that were taken before', () => {
    for (const dtype of dtypes) {
      const state = new State('table', [3, 2], dtype)
      const [all, last] = [state.rows(0, 3), state.rows(2, 3)]
      state.setRows(1, tensor([1, 0, 1, 1], [2, 2], dtype).transpose())
      expect(valuesOf(all).map(Number)).toEqual([0, 0, 1, 1, 0, 1])
      expect(valuesOf(last).map(Number)).toEqual([0, 1])
      state.setRows(3, zeros([0, 2], dtype))
      const kept = state.value()
      state.setRows(0, ones([3, 2], dtype))
      expect(valuesOf(kept).map(Number)).toEqual([0, 0, 1, 1, 0, 1])
      expect(valuesOf(last).map(Number)).toEqual([1, 1])
      state.dispose()
      // A tensor holds the memory that it looks at.
      expect(valuesOf(last).map(Number)).toEqual([1, 1])
      expect(() => state.rows(0, 1)).toThrow(/disposed/)
    }
    const state = new State('table', [3, 2])
    expect(() => state.setRows(2, zeros([2, 2]))).toThrow(/rows 0 to 3, not 2 to 4/)
    expect(() => state.setRows(-1, zeros([1, 2]))).toThrow(ShapeError)
    expect(() => state.rows(2, 1)).toThrow(ShapeError)
    expect(() => state.setRows(0, zeros([1, 3]))).toThrow(/\[3, 2\] has no rows like those of f32 \[1, 3\]/)
    expect(() => state.setRows(0, zeros([1, 2], 'f64'))).toThrow(ShapeError)
    expect(state.value().toArray()).toEqual(new Float32Array(6))
    state.dispose()
  })
  claim('storage arrays have the width of their type', () => {
    for (const dtype of dtypes) expect(storageArray(dtype, 3).BYTES_PER_ELEMENT).toBe(sizeOf(dtype))
  })
}
