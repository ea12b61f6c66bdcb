import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { value } from '../../formats/onnx/graph.ts'
import { dequantizeMatMulNBits } from '../../formats/onnx/matmul_nbits_packing.ts'
import { openOnnx } from '../../formats/onnx/onnx.ts'
import { createOnnx } from '../../formats/onnx/writer.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { type AffineGrid, affineGrid, decodeValues } from '../../nn/grid.ts'
import { decodeStored } from '../../nn/values/values.ts'
import { OptionError } from '../../tensor/errors.ts'
import { randomStream, scope, tensor } from '../../tensor/index.ts'
import { onnxLayers } from '../stored/onnx_layers.ts'
import { GraphBuilder } from './graph_builder.ts'
import { encodeMatMulNBits, layoutOf, type OnnxFloat, tensorsOfWeight } from './weight_tensors.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onnx-weights-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const name = 'layer.weight'

/** A graph of one product with a matrix on a grid, written and opened again. */
function written(shape: readonly [number, number], grid: AffineGrid, type: OnnxFloat, seed: number) {
  const weight = { name, shape, grid }
  const values = columnSweep(randomStream(seed, 'w').normal(shape), { grid }).values
  if (values.kind !== 'grid') throw new Error('no grid')
  const types = { numbers: type, activations: type }
  const builder = new GraphBuilder(types, new Map([[name, weight]]))
  const y = builder.linear('y', 'x', name)
  const model = builder.model(
    'one',
    [value('x', type, ['rows', shape[1]])],
    [value(y, type, ['rows', shape[0]])],
  )
  const path = join(folder, 'model.onnx')
  const writer = createOnnx(path, model)
  const parts = encodeMatMulNBits(weight, values, type)
  for (const [i, { name: part }] of tensorsOfWeight(weight, types).entries()) writer.append(part, parts[i]!)
  writer.finish()
  return { path, values, parts, weight }
}

const cases = fc.record({
  rows: fc.integer({ min: 1, max: 9 }),
  columns: fc.integer({ min: 1, max: 100 }),
  bits: fc.constantFrom(2 as const, 4 as const, 8 as const),
  groupSize: fc.constantFrom(16, 32, 64, 128, 256),
  symmetric: fc.boolean(),
  type: fc.constantFrom('F32' as const, 'F16' as const),
  seed: fc.nat(),
})

test('codes, scales and zeros of any shape come back as they were, all rows or some', () => {
  fc.assert(
    fc.property(cases, fc.nat(), fc.nat(), ({ rows, columns, type, seed, ...form }, from, more) =>
      scope(() => {
        const { path, values } = written([rows, columns], affineGrid(form), type, seed)
        const archive = openOnnx(path)
        try {
          const [layer] = onnxLayers(archive)
          const start = from % rows
          const end = start + 1 + (more % (rows - start))
          const found = layer!.values(start, end)
          if (found.kind !== 'grid') throw new Error('no grid')
          for (const part of ['codes', 'scales', 'zeros'] as const)
            expect(found[part].toArray()).toEqual(values[part].slice(0, start, end).contiguous().toArray())
          expect(layer!.info.shape).toEqual([rows, columns])
          expect(decodeStored(found).toArray()).toEqual(
            decodeValues(values).slice(0, start, end).contiguous().toArray(),
          )
        } finally {
          archive.close()
        }
      }),
    ),
    { numRuns: 60 },
  )
})

test('the runtime computes with the numbers that the codes stand for', () => {
  fc.assert(
    fc.property(cases, ({ rows, columns, seed, type: _, ...form }) =>
      scope(() => {
        const { values, parts, weight } = written([rows, columns], affineGrid(form), 'F32', seed)
        const [codes, scales, zeroPoints] = parts as [Uint8Array, Uint8Array, Uint8Array | undefined]
        const stored = {
          codes,
          scales: new Float32Array(scales.slice().buffer),
          ...(zeroPoints ? { zeroPoints } : {}),
        }
        expect(dequantizeMatMulNBits(stored, layoutOf(weight))).toEqual(decodeValues(values).toArray())
      }),
    ),
    { numRuns: 60 },
  )
})

test('zeros between the levels, other bits and other groups are refused', () => {
  scope(() => {
    const grid = affineGrid({ groupSize: 32 })
    const weight = { name, shape: [2, 64], grid }
    const { values } = columnSweep(randomStream(1, 'w').normal([2, 64]), { grid })
    if (values.kind !== 'grid') throw new Error('no grid')
    const zeros = tensor([1, 2, 3, 4.5], [2, 2])
    expect(() => encodeMatMulNBits(weight, { ...values, zeros }, 'F32')).toThrow(/zero point of 4.5/)
    const other = { ...weight, grid: affineGrid({ bits: 8, groupSize: 32 }) }
    expect(() => encodeMatMulNBits(other, values, 'F32')).toThrow(/got codes of 4 bits/)
    const wider = { ...weight, grid: affineGrid({ groupSize: 64 }) }
    expect(() => encodeMatMulNBits(wider, values, 'F32')).toThrow(/got 2 groups a row/)
    const middle = { ...weight, grid: affineGrid({ groupSize: 32, symmetric: true }) }
    expect(() =>
      encodeMatMulNBits(middle, { ...values, zeros: tensor([8, 8, 7, 8], [2, 2]) }, 'F32'),
    ).toThrow(OptionError)
  })
})
