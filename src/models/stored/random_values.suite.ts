/** Stored values of every kind with random codes: numbers are eighths of small whole ones, exact in every float type. */
import { numbersBelow } from '../../formats/mulberry32.suite.ts'
import { blockTypeOf } from '../../nn/block_types.ts'
import { groupWidth, neighbourGroups } from '../../nn/grid.ts'
import { packLevels } from '../../nn/values/column_levels.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { type DType, type Tensor, tensor } from '../../tensor/index.ts'

export type Shape = readonly [number, number]
export const leafKinds = [
  'dense',
  'grid',
  'offset',
  'blocks',
  'bilevel',
  'codebook',
  'column_levels',
  'bitmask',
  'sparse_rows',
  'masked_grid',
  'rotated_grid',
] as const
export const treeKinds = ['sum', 'product', 'scaled', 'permuted'] as const
export type Kind = StoredValues['kind']

export class RandomValues {
  /** 0 to `count` - 1. */
  readonly below: (count: number) => number
  constructor(seed: number) {
    this.below = numbersBelow(seed)
  }

  oneOf = <T>(choices: readonly T[]): T => choices[this.below(choices.length)]!

  private numbers(shape: readonly number[], type: DType = 'f32'): Tensor {
    const count = shape.reduce((a, b) => a * b, 1)
    return tensor(
      Float32Array.from({ length: count }, () => (this.below(255) - 127) / 8),
      shape,
      type,
    )
  }
  private codes(shape: readonly number[], bits: number, type: DType = 'u8'): Tensor {
    const count = shape.reduce((a, b) => a * b, 1)
    return tensor(
      Uint32Array.from({ length: count }, () => this.below(2 ** bits)),
      shape,
      type,
    )
  }
  private divisor(n: number): number {
    return this.oneOf([1, 2, 3, 4, 5, 8, n].filter((d) => n % d === 0))
  }
  private permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i)
    for (let i = n - 1; i > 0; i--) {
      const other = this.below(i + 1)
      ;[order[i], order[other]] = [order[other]!, order[i]!]
    }
    return order
  }

  private marks([rows, columns]: Shape): { mask: Uint8Array; kept: number } {
    const density = this.below(101)
    const width = Math.ceil(columns / 8)
    const mask = new Uint8Array(rows * width)
    let kept = 0
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        if (this.below(100) < density) {
          mask[row * width + (column >> 3)]! |= 1 << (column & 7)
          kept++
        }
    return { mask, kept }
  }

  /** Values of any kind; parts of trees go `depth` further down. */
  any(shape: Shape, depth: number): StoredValues {
    return this.of(
      this.oneOf<Kind>(depth > 0 ? [...leafKinds, ...treeKinds, ...treeKinds] : leafKinds),
      shape,
      depth,
    )
  }

  of(kind: Kind, shape: Shape, depth = 1): StoredValues {
    const [rows, columns] = shape
    const floats = ['f16', 'bf16', 'f32'] as const
    const down = (part: Shape = shape) => this.any(part, depth - 1)
    switch (kind) {
      case 'dense':
        return { kind, numbers: this.numbers(shape, this.oneOf([...floats, 'f64'])) }
      case 'grid':
      case 'offset': {
        const bits = 1 + this.below(8)
        const groupSize = this.oneOf(['row', 1 + this.below(columns + 2)] as const)
        const form = { bits, groupSize, scaleType: this.oneOf(floats) }
        const groups = Math.ceil(columns / groupWidth(form, columns))
        const neighbours = neighbourGroups(columns, groupWidth(form, columns))
        const order = this.permutation(columns)
        const groupOf = this.below(2) ? neighbours : neighbours.map((_, i) => neighbours[order[i]!]!)
        const parts = { codes: this.codes(shape, bits), scales: this.numbers([rows, groups]), groupOf }
        if (kind === 'offset') return { kind, form, ...parts, offsets: this.numbers([rows, groups]) }
        const symmetric = this.below(3) === 0
        const middle = new Uint8Array(rows * groups).fill(2 ** (bits - 1))
        const zeros = symmetric
          ? tensor(middle, [rows, groups], 'u8')
          : [
              () => this.codes([rows, groups], bits),
              () => this.codes([rows, groups], 8),
              () => this.numbers([rows, groups]),
            ][this.below(3)]!()
        return { kind, grid: { ...form, symmetric }, ...parts, zeros }
      }
      case 'blocks': {
        const type = columns % 32 === 0 ? 'Q8_0' : 'BF16'
        const { blockLength, blockBytes } = blockTypeOf(type)
        const bytes = this.codes([rows, (columns / blockLength) * blockBytes], 6)
        return { kind, type, shape, bytes }
      }
      case 'bilevel': {
        const tile = { rows: this.divisor(rows), columns: this.divisor(columns) }
        const [tiles, groups, bits] = [rows / tile.rows, columns / tile.columns, 1 + this.below(8)]
        const [scaleBits, zeroBits] = this.below(2) ? [1 + this.below(8), 1 + this.below(8)] : [bits, bits]
        const scaleCodes = this.codes([rows, groups], scaleBits)
        const zeroCodes = this.codes([rows, groups], zeroBits)
        // Small enough that no value passes the range of f16.
        const small = () => this.numbers([tiles, groups]).mul(1 / 64)
        const [scaleScale, scaleZero, zeroScale, zeroZero] = [small(), small(), small(), small()]
        const second = { scaleScale, scaleZero, ...(this.below(3) && { zeroScale, zeroZero }) }
        const widths = { bits, scaleBits, zeroBits }
        return { kind, ...widths, tile, codes: this.codes(shape, bits), scaleCodes, zeroCodes, second }
      }
      case 'codebook': {
        const [high, wide, books, bits] = [
          this.divisor(rows),
          this.divisor(columns),
          1 + this.below(3),
          1 + this.below(10),
        ]
        return {
          kind,
          ...{ shape, bits },
          codes: this.codes([rows / high, columns / wide, books], bits, 'u32'),
          codebooks: this.numbers([books, 2 ** bits, high, wide]),
          scales: this.numbers([rows / high]),
        }
      }
      case 'column_levels': {
        const counts = Uint16Array.from({ length: columns }, () => this.oneOf([1, 2, 3, 5, 8, 9, 300, 65535]))
        const codes = Uint16Array.from({ length: rows * columns }, (_, i) =>
          this.below(counts[Math.floor(i / rows)]!),
        )
        const levels = tensor(counts, [columns], 'u16')
        const words = packLevels(tensor(codes, [columns, rows], 'u16'), levels)
        const [lows, highs] = [this.numbers([rows]).abs().neg(), this.numbers([rows]).abs().add(0.125)]
        return { kind, shape, levels, lows, highs, words, centred: this.below(2) === 0 }
      }
      case 'bitmask': {
        const { mask, kept } = this.marks(shape)
        return { kind, shape, mask, kept: this.numbers([kept], this.oneOf(floats)) }
      }
      case 'masked_grid': {
        const { mask, kept } = this.marks(shape)
        const { grid, scales, zeros, groupOf } = this.of('grid', shape) as StoredValues & { kind: 'grid' }
        const codes = this.codes([kept], grid.bits)
        // Zeros of this kind are codes.
        const own = grid.symmetric ? zeros : this.codes(zeros.shape, grid.bits)
        return { kind, shape, mask, grid, codes, scales, zeros: own, groupOf }
      }
      case 'rotated_grid': {
        const bits = 1 + this.below(8)
        const [codes, columnScales] = [this.codes(shape, bits), this.numbers([columns])]
        return { kind, bits, codes, columnScales, scale: this.below(255) / 8, seed: this.below(2 ** 32) }
      }
      case 'sparse_rows': {
        const rowOffsets = new Uint32Array(rows + 1)
        for (let row = 0; row < rows; row++) rowOffsets[row + 1] = rowOffsets[row]! + this.below(columns + 1)
        const entries = rowOffsets[rows]!
        const places = Uint32Array.from({ length: entries }, () => this.below(columns))
        const values = Float32Array.from({ length: entries }, () => (this.below(255) - 127) / 8)
        return { kind, shape, rowOffsets, columns: places, values, valueType: this.oneOf(floats) }
      }
      case 'sum':
        return { kind, terms: Array.from({ length: 1 + this.below(3) }, () => down()) }
      case 'product': {
        const rank = 1 + this.below(4)
        return { kind, left: down([rows, rank]), right: down([rank, columns]) }
      }
      case 'scaled':
        return {
          kind,
          values: down(),
          ...(this.below(2) && { rows: this.numbers([rows]) }),
          ...(this.below(2) && { columns: this.numbers([columns]) }),
        }
      case 'permuted':
        return { kind, values: down(), order: this.permutation(columns) }
    }
  }
}
