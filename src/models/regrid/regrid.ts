/** Codes of one form in another: what `candidates.ts` says a format can hold. */
import { blocksOfCodes, EVEN_BLOCK, type EvenType, evenTypes } from '../../formats/gguf/block_codes.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { asStorage, scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { LevelForm } from './candidates.ts'
import { zeroOf } from './level_facts.ts'
import { formOfLevels, inGroups, type Levels } from './levels.ts'

/**
 * The same codes in another form, of all rows or of some. Scales and offsets are rounded to the type of the form.
 *
 * @param form one of `candidatesOf` for these levels
 */
export function regrid(levels: Levels, form: LevelForm): StoredValues {
  return scope(() => {
    if (form.kind === 'blocks') return toBlocks(inGroups(levels, EVEN_BLOCK), form.type as EvenType)
    const columns = levels.codes.extent(1)
    const { bits, groupSize, scaleType, sorted } = form
    const own = formOfLevels(levels)
    const parted = sorted ? levels : inGroups(levels, groupSize === 'row' ? columns : groupSize)
    const rounded = (x: Tensor) => x.cast(scaleType).cast('f32')
    const scales = rounded(parted.scales)
    const { groupOf } = parted
    if (form.kind === 'offset') {
      const { codes, offsets } = asOffsets(parted, bits)
      const levelForm = { bits, groupSize, scaleType }
      return { kind: 'offset', form: levelForm, codes, scales, offsets: rounded(offsets), groupOf }
    }
    const { symmetric } = form
    const grid = { bits, groupSize, symmetric, scaleType }
    const zeros = wholeZeros(parted)
    if (!symmetric) {
      const [rows, groups] = scales.shape as [number, number]
      return {
        kind: 'grid',
        grid,
        codes: parted.codes,
        scales,
        zeros: tensor(zeros, [rows, groups], 'u8'),
        groupOf,
      }
    }
    const codes = own.bits === bits && isMiddle(zeros, bits) ? parted.codes : centred(parted, zeros, bits)
    const middle = tensor(new Uint8Array(zeros.length).fill(2 ** (bits - 1)), scales.shape, 'u8')
    return { kind: 'grid', grid, codes, scales, zeros: middle, groupOf }
  })
}

const isMiddle = (zeros: Uint8Array, bits: number) => zeros.every((zero) => zero === 2 ** (bits - 1))
const numbers = (x: Tensor): Float32Array => scope(() => x.cast('f32').toArray()) as Float32Array

/** Zeros as codes; those of offsets are what these stand for. */
function wholeZeros(levels: Levels): Uint8Array {
  if (levels.kind === 'grid') return Uint8Array.from(numbers(levels.zeros), Math.round)
  const [scales, offsets] = [numbers(levels.scales), numbers(levels.offsets)]
  return Uint8Array.from(scales, (scale, i) => Math.round(zeroOf(scale, offsets[i]!, levels.form.bits)))
}

/** Codes whose zero is the middle of `bits` bits. */
function centred(levels: Levels, zeros: Uint8Array, bits: number): Tensor {
  const [rows, columns] = levels.codes.shape as [number, number]
  const groups = zeros.length / rows
  const codes = scope(() => levels.codes.bytes()).slice()
  const middle = 2 ** (bits - 1)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      codes[row * columns + column]! += middle - zeros[row * groups + levels.groupOf[column]!]!
  return tensor(codes, [rows, columns], 'u8')
}

/** Codes with offsets; a grid of other bits, or whose zeros are in the middle, gets its zero there. */
function asOffsets(levels: Levels, bits: number): { codes: Tensor; offsets: Tensor } {
  if (levels.kind === 'offset') return levels
  const zeros = wholeZeros(levels)
  const same = levels.grid.bits === bits
  const [rows, columns] = levels.codes.shape as [number, number]
  if (same || !fitsCentred(levels, zeros, bits)) {
    return { codes: levels.codes, offsets: levels.scales.mul(levels.zeros.cast('f32')).neg() }
  }
  const codes = centred(levels, zeros, bits)
  return { codes: codes.reshape([rows, columns]), offsets: levels.scales.mul(-(2 ** (bits - 1))) }
}

/** By the bounds that zeros and bits give, as for all rows. */
function fitsCentred({ grid }: Levels & { kind: 'grid' }, zeros: Uint8Array, bits: number): boolean {
  let [least, most] = [255, 0]
  for (const zero of zeros) {
    least = Math.min(least, zero)
    most = Math.max(most, zero)
  }
  return most <= 2 ** (bits - 1) && 2 ** grid.bits - 1 - least < 2 ** (bits - 1)
}

function toBlocks(levels: Levels, type: EvenType): StoredValues {
  const { bits, ...layout } = evenTypes[type]
  const [rows, columns] = levels.codes.shape as [number, number]
  const { codes, offsets } =
    'm' in layout
      ? asOffsets(levels, bits)
      : { codes: centred(levels, wholeZeros(levels), bits), offsets: undefined }
  const halves = (x: Tensor) =>
    asStorage(
      'u16',
      scope(() => x.cast('f16').bytes()),
    ) as Uint16Array
  const bytes = blocksOfCodes(type, {
    codes: codes.bytes(),
    scales: halves(levels.scales),
    ...(offsets && { offsets: halves(offsets) }),
  })
  return {
    kind: 'blocks',
    type,
    shape: [rows, columns],
    bytes: tensor(bytes, [rows, bytes.length / rows], 'u8'),
  }
}
