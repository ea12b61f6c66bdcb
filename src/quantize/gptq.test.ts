import { describe, expect, test } from 'vitest'
import { dequantizeGptq, packAcross, packDown, storedZeros } from '../formats/gptq_packing.ts'
import { oracleSweep } from '../nn/column_sweep.oracle.suite.ts'
import { affineGrid, decodeValues } from '../nn/grid.ts'
import { dampedHessian, sweepFactor, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { cholesky, choleskyInverse, matmul, type Tensor, tensor } from '../tensor/index.ts'
import { codesOf, diagonal, nearest, numbers, rowGrid, run, valuesOf } from './gptq_layer.suite.ts'

describe('results', () => {
  const layer = syntheticLayer({ seed: 1 })

  test.each([2, 3, 4] as const)(
    'blocks of 1, 4, 32, 64 and 128 columns give the same codes at %i bits',
    (bits) => {
      const [first, ...others] = [1, 4, 32, 64, 128].map((blockSize) =>
        codesOf(run(layer, affineGrid({ bits }), { blockSize })),
      )
      for (const codes of others) expect(codes).toEqual(first)
    },
  )
  test('codes are those of plain loops over the inverse of the damped Hessian', () => {
    for (const groupSize of ['row', 16] as const) {
      const grid = affineGrid({ bits: 3, groupSize })
      const expected = oracleSweep(layer.weight.toArray() as Float64Array, 64, {
        grid,
        factor: sweepFactor(dampedHessian(layer.gram, 0.01)).toArray() as Float64Array,
      })
      expect(codesOf(run(layer, grid))).toEqual([...expected.codes])
    }
  })
  test('act-order sweeps the inputs with the most energy first, and groups follow it unless they are static', () => {
    const gram = layer.gram.toArray() as Float64Array
    const order = Uint32Array.from({ length: 64 }, (_, i) => i).sort((a, b) => gram[b * 65]! - gram[a * 65]!)
    const factor = sweepFactor(dampedHessian(layer.gram, 0.01), order).toArray() as Float64Array
    for (const staticGroups of [false, true]) {
      const grid = affineGrid({ bits: 3, groupSize: 16 })
      const expected = oracleSweep(layer.weight.toArray() as Float64Array, 64, {
        grid,
        factor,
        order,
        staticGroups,
      })
      const edit = run(layer, grid, { actOrder: true, staticGroups })
      expect(codesOf(edit)).toEqual([...expected.codes])
      const groupOf = [...valuesOf(edit).groupOf]
      const neighbours = groupOf.map((_, column) => Math.floor(column / 16))
      if (staticGroups) expect(groupOf).toEqual(neighbours)
      else expect([...order].map((column) => groupOf[column])).toEqual(neighbours)
    }
  })
  test('optimal brain quantisation row by row, with downdates of the whole inverse, gives the same codes', () => {
    const small = syntheticLayer({ seed: 2, rows: 8, columns: 32 })
    const grid = rowGrid(3)
    const edit = run(small, grid)
    const { scales, zeros, codes } = valuesOf(edit)
    const inverse = choleskyInverse(
      cholesky(tensor(dampedHessian(small.gram, 0.01), [32, 32], 'f64')),
    ).toArray() as Float64Array
    for (let row = 0; row < 8; row++) {
      const weight = (small.weight.toArray() as Float64Array).slice(row * 32, row * 32 + 32)
      const own = Float64Array.from(inverse)
      const [scale, zero] = [Number(scales.toArray()[row]), Number(zeros.toArray()[row])]
      const found = Array.from(weight, (_, q) => {
        const code = Math.min(7, Math.max(0, Math.round(weight[q]! / scale) + zero))
        const error = (weight[q]! - scale * (code - zero)) / own[q * 33]!
        for (let j = 0; j < 32; j++) weight[j]! -= error * own[q * 32 + j]!
        const column = Array.from({ length: 32 }, (_, i) => own[i * 32 + q]!)
        const pivot = column[q]!
        for (let i = 0; i < 32; i++)
          for (let j = 0; j < 32; j++) own[i * 32 + j]! -= (column[i]! * column[j]!) / pivot
        return code
      })
      expect(numbers(codes).slice(row * 32, row * 32 + 32)).toEqual(found)
    }
  })
  test('feedback rounding with the unit factor of H, last column first, gives the same codes', () => {
    const grid = rowGrid(3)
    const edit = run(layer, grid)
    const { scales, zeros, codes } = valuesOf(edit)
    const hessian = dampedHessian(layer.gram, 0.01)
    // Of the flipped problem: J H J = L D L^T with ones on the diagonal of L.
    const lower = cholesky(tensor(hessian.slice().reverse(), [64, 64], 'f64')).toArray() as Float64Array
    const unit = (i: number, j: number) => lower[(63 - i) * 64 + 63 - j]! / lower[(63 - j) * 65]!
    const weights = layer.weight.toArray() as Float64Array
    for (let row = 0; row < 64; row++) {
      const [scale, zero] = [Number(scales.toArray()[row]), Number(zeros.toArray()[row])]
      const errors: number[] = []
      const found: number[] = []
      for (let k = 0; k < 64; k++) {
        const target = weights[row * 64 + k]! + errors.reduce((sum, error, i) => sum + error * unit(i, k), 0)
        const code = Math.min(7, Math.max(0, Math.round(target / scale) + zero))
        found.push(code)
        errors.push(weights[row * 64 + k]! - scale * (code - zero))
      }
      expect(numbers(codes).slice(row * 64, row * 64 + 64)).toEqual(found)
    }
  })
  test('orthogonal inputs make it round to nearest, code for code, in any order', () => {
    const gram = diagonal(Array.from({ length: 64 }, (_, i) => 1 + ((i * 37) % 64)))
    for (const [groupSize, options] of [
      ['row', {}],
      [16, {}],
      ['row', { actOrder: true }],
      [16, { actOrder: true, staticGroups: true }],
    ] as const) {
      const grid = affineGrid({ bits: 3, groupSize })
      expect(codesOf(run({ ...layer, gram }, grid, options))).toEqual(codesOf(nearest(layer, grid)))
    }
  })
  test('a weight that lies on its grid already stays as it is, whatever the inputs', () => {
    for (const bits of [2, 3, 4, 8] as const) {
      const grid = affineGrid({ bits, groupSize: 'row' })
      const top = 2 ** bits - 1
      const weight = tensor(
        Float64Array.from(
          { length: 64 * 64 },
          (_, i) => (i % 64 < 2 ? (i % 2) * top : (i * 31 + (i >> 6)) % 2 ** bits) - 1,
        ),
        [64, 64],
        'f64',
      )
      expect(numbers(run({ ...layer, weight }, grid).decoded!)).toEqual(numbers(weight))
    }
  })
})

describe('packing', () => {
  const { weight, gram } = syntheticLayer({ seed: 6, rows: 32, columns: 96 })
  const layer = { weight: weight.cast('f32'), gram }

  test.each([2, 3, 4, 8] as const)(
    'a GPTQ layer of %i bits decodes to the values that the method decided',
    (bits) => {
      for (const [options, format] of [
        [{}, 'gptq'],
        [{ actOrder: true }, 'gptq'],
        [{ actOrder: true, staticGroups: true }, 'gptq_v2'],
      ] as const) {
        const edit = run(layer, affineGrid({ bits, groupSize: 32, zeroLow: 1 }), options)
        const { codes, scales, zeros, groupOf } = valuesOf(edit)
        const turned = (x: Tensor) => x.transpose().contiguous()
        const across = storedZeros(turned(zeros).toArray() as Uint8Array, bits, format)
        const decoded = dequantizeGptq({
          bits,
          inputs: 96,
          outputs: 32,
          groupOf: Int32Array.from(groupOf),
          qweight: packDown(turned(codes).toArray() as Uint8Array, 96, 32, bits),
          qzeros: packAcross(across, 3, 32, bits),
          scales: turned(scales).toArray() as Float32Array,
          format,
        })
        expect(numbers(tensor(decoded, [32, 96]))).toEqual(numbers(edit.decoded!).map((value) => value + 0))
      }
    },
  )
  test('a product with the packed weight is the product with its values', () => {
    const edit = run(layer, affineGrid({ bits: 4, groupSize: 32 }))
    const x = tensor(
      Float32Array.from({ length: 96 * 3 }, (_, i) => Math.sin(i)),
      [3, 96],
    )
    const decoded = decodeValues(valuesOf(edit))
    expect(numbers(edit.source.matmul(x))).toEqual(numbers(matmul(x, decoded.transpose())))
  })
})
