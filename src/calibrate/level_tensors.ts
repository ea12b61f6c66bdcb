/** The tensors that a level takes in a database, and the level that they make. */
import type { TensorArchive, TensorInfo } from '../formats/archive.ts'
import { rowWords, unpackRows } from '../formats/bit_stream.ts'
import { groupWidth, neighbourGroups } from '../nn/grid.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { fromBytes, scope, type Tensor, tensor } from '../tensor/index.ts'
import type { IndexedLevel } from './level_index.ts'
import { type LevelValues, marksOf } from './levels.ts'

/** @param at place of the level in its layer */
export function tensorsOfLevel(
  at: number,
  { form, kept, masked }: IndexedLevel,
  [rows, columns]: readonly [number, number],
): TensorInfo[] {
  const info = (part: string, type: string, ...shape: number[]) => ({ name: `${at}.${part}`, type, shape })
  const mask = masked ? [info('mask', 'U8', rows, Math.ceil(columns / 8))] : []
  if (form.kind === 'numbers') return [...mask, info('kept', form.numberType.toUpperCase(), kept)]
  const groups = Math.ceil(columns / groupWidth(form, columns))
  return [
    ...mask,
    info('codes', 'U32', rowWords(kept, form.bits)),
    info('scales', form.scaleType.toUpperCase(), rows, groups),
    ...(form.symmetric ? [] : [info('zeros', 'U8', rows, groups)]),
  ]
}

/**
 * The level at a place of a layer. The caller's scope owns its tensors.
 *
 * @throws FormatError where the tensors are not those of the index, or hold what no level has
 */
export function readLevel(
  archive: TensorArchive,
  at: number,
  level: IndexedLevel,
  shape: readonly [number, number],
): LevelValues {
  const infos = tensorsOfLevel(at, level, shape)
  const refuse = (what: string) =>
    new FormatError(`level ${printable(level.level)}: ${what}; the database is damaged`, {
      code: 'PARE_E_LEVELS',
    })
  const bytes = new Map<string, Uint8Array>()
  for (const { name, type, shape: extents } of infos) {
    const entry = archive.tensors.get(name)
    if (!entry || entry.type !== type || entry.shape.join() !== extents.join())
      throw refuse(
        `needs ${name} as ${type} [${extents}], the file has ${entry ? `${printable(entry.type)} [${entry.shape}]` : 'none'}`,
      )
    bytes.set(name.slice(name.indexOf('.') + 1), archive.read(name))
  }
  const mask = bytes.get('mask')
  if (mask) checkMask(mask, shape, level.kept, refuse)
  return scope(() => {
    const { form } = level
    if (form.kind === 'numbers') {
      const kept = fromBytes(bytes.get('kept')!, [level.kept], form.numberType)
      checkFinite(kept, () => true, refuse)
      return { kind: 'numbers', shape, kept, ...(mask && { mask }) }
    }
    const [rows, columns] = shape
    const width = groupWidth(form, columns)
    const groups = Math.ceil(columns / width)
    const scales = fromBytes(bytes.get('scales')!, [rows, groups], form.scaleType).cast('f32')
    checkFinite(scales, (scale) => scale > 0, refuse)
    const zeros = bytes.get('zeros') ?? new Uint8Array(rows * groups).fill(2 ** (form.bits - 1))
    if (zeros.some((zero) => zero >= 2 ** form.bits))
      throw refuse(`a zero lies above the codes of ${form.bits} bits`)
    const stored = bytes.get('codes')!
    const words = new Uint32Array(stored.slice().buffer)
    const kept = unpackRows(words, 1, level.kept, form.bits)
    const codes = mask
      ? spread(kept, mask, shape, (row, column) => zeros[row * groups + Math.floor(column / width)]!)
      : kept
    const { kind: _, ...steps } = form
    const values = {
      kind: 'grid' as const,
      grid: steps,
      codes: tensor(codes, [rows, columns], 'u8'),
      scales,
      zeros: tensor(zeros, [rows, groups], 'u8'),
      groupOf: neighbourGroups(columns, width),
    }
    return { kind: 'codes', values, ...(mask && { mask }) }
  })
}

function checkMask(
  mask: Uint8Array,
  [rows, columns]: readonly [number, number],
  kept: number,
  refuse: (what: string) => FormatError,
): void {
  const width = Math.ceil(columns / 8)
  const past = columns % 8 === 0 ? 0 : 0xff & ~((1 << (columns % 8)) - 1)
  for (let row = 0; row < rows; row++)
    if (mask[(row + 1) * width - 1]! & past) throw refuse(`row ${row} marks columns past its last`)
  if (marksOf(mask) !== kept) throw refuse(`its mask keeps ${marksOf(mask)} weights where ${kept} are named`)
}

function checkFinite(x: Tensor, holds: (x: number) => boolean, refuse: (what: string) => FormatError): void {
  const bad = (x.cast('f32').toArray() as Float32Array).find(
    (value) => !Number.isFinite(value) || !holds(value),
  )
  if (bad !== undefined) throw refuse(`holds ${bad}`)
}

/** Kept codes at their places, and `other` at the rest. */
function spread(
  kept: Uint8Array,
  mask: Uint8Array,
  [rows, columns]: readonly [number, number],
  other: (row: number, column: number) => number,
): Uint8Array {
  const codes = new Uint8Array(rows * columns)
  const width = Math.ceil(columns / 8)
  let next = 0
  for (let row = 0, i = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, i++) {
      const marked = (mask[row * width + (column >> 3)]! >> (column & 7)) & 1
      codes[i] = marked ? kept[next++]! : other(row, column)
    }
  return codes
}
