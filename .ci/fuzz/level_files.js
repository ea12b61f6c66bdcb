/** The reader of databases of levels: an index, and a file of each layer. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLevels, writeLevels } from '../../dist/calibrate/level_database.js'
import { decodeLevel, keptOf, shapeOfLevel } from '../../dist/calibrate/levels.js'
import { affineGrid, neighbourGroups } from '../../dist/nn/grid.js'
import { bitmaskOf, packMarks } from '../../dist/nn/values/bitmask.js'
import { scope, tensor } from '../../dist/tensor/index.js'
import { damageJson } from './json.js'
import { forEach, need } from './reading.js'
import { damageSafetensors } from './safetensors.js'

/** The files of a folder that `write` fills. */
export function writtenFiles(write) {
  const folder = mkdtempSync(join(tmpdir(), 'pare-fuzz-original-'))
  try {
    scope(() => write(folder))
    return Object.fromEntries(
      readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Every form that a level has, of a matrix whose columns fill no byte of a mask. */
function levelsOf([rows, columns]) {
  const size = rows * columns
  const marks = Uint8Array.from({ length: size }, (_, i) => Number(i % 3 > 0))
  const weight = tensor(
    Float32Array.from({ length: size }, (_, i) => Math.sin(i)),
    [rows, columns],
  )
  const mask = packMarks(marks, [rows, columns])
  const numbers = (numberType) => ({
    kind: 'numbers',
    shape: [rows, columns],
    kept: weight.reshape([size]).cast(numberType),
  })
  const codes = (bits, symmetric) => {
    const groups = Math.ceil(columns / 4)
    const zero = symmetric ? 2 ** (bits - 1) : 1
    const values = {
      kind: 'grid',
      grid: affineGrid({ bits, groupSize: 4, symmetric }),
      codes: tensor(
        Uint8Array.from({ length: size }, (_, i) => (5 * i) % 2 ** bits),
        [rows, columns],
        'u8',
      ),
      scales: tensor(new Float32Array(rows * groups).fill(0.25), [rows, groups]),
      zeros: tensor(new Uint8Array(rows * groups).fill(zero), [rows, groups], 'u8'),
      groupOf: neighbourGroups(columns, 4),
    }
    return { kind: 'codes', values }
  }
  return [
    { level: 'dense', error: 0, values: numbers('f32') },
    {
      ...{ level: 'sparse', error: 0.25, pattern: { n: 2, m: 3 } },
      values: { ...numbers('f16'), kept: bitmaskOf(weight, marks, 'f16').kept, mask },
    },
    { level: '3 bits', error: 0.5, values: codes(3, false) },
    { level: '8 bits', error: 0.125, values: codes(8, true) },
    { level: '2 bits, sparse', error: 0.75, values: { ...codes(2, false), mask } },
  ]
}
const original = writtenFiles((folder) => {
  const writer = writeLevels(folder)
  writer.add({ name: 'a.weight', shape: [3, 10], uses: 7 }, levelsOf([3, 10]))
  writer.add({ name: 'b.weight', shape: [8, 16], uses: 1 }, levelsOf([8, 16]))
})

export const levelReader = {
  name: 'levels',
  make(random) {
    const file = random.once(2) ? 'levels.json' : 'layer-00001.safetensors'
    return {
      ...original,
      [file]: (file === 'levels.json' ? damageJson : damageSafetensors)(original[file], random),
    }
  },
  read(files, place) {
    const { layers, read } = openLevels(place.folder(files))
    const each = layers.flatMap(({ name, shape, levels }) => levels.map((level) => ({ name, shape, level })))
    forEach(each, ({ name, shape, level }) =>
      scope(() => {
        const values = read(name, level.level)
        need(shapeOfLevel(values).join() === shape.join(), `a level of ${shapeOfLevel(values)}, not ${shape}`)
        need(keptOf(values) === level.kept, `${keptOf(values)} weights are kept, not ${level.kept}`)
        const numbers = decodeLevel(values).toArray()
        need(numbers.length === shape[0] * shape[1], `${numbers.length} numbers of ${shape}`)
        need(numbers.every(Number.isFinite), 'numbers that are not finite')
      }),
    )
  },
}
