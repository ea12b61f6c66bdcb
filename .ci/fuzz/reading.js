/** What every case does with a file that opened: it reads all of it, and looks whether what it gets is what was promised. */
import { PareError } from 'pare'
import {
  decodeIntegers,
  decodeToF32,
  isFloatType,
  isIntegerType,
} from '../../dist/formats/safetensors/decode.js'
import { scope } from '../../dist/tensor/index.js'

/** Does the work for every item, also behind one that is refused; the first refusal counts. */
export function forEach(items, work) {
  let refusal
  for (const item of items)
    try {
      work(item)
    } catch (error) {
      if (!(error instanceof PareError)) throw error
      refusal ??= error
    }
  if (refusal) throw refusal
}

/** A result that is wrong, which no error told. */
export function need(condition, what) {
  if (!condition) throw new Error(`a wrong result: ${what}`)
}

/** Every tensor whole, some rows of it, and its numbers. */
export function readTensors(archive) {
  forEach(archive.tensors.values(), ({ name, type, shape, bytes }) => {
    const read = archive.read(name)
    need(read.length === bytes, `${read.length} bytes of ${name}, which has ${bytes}`)
    const count = shape.reduce((a, b) => a * b, 1)
    if (isFloatType(type)) need(decodeToF32(type, read, count).length === count, `the numbers of ${name}`)
    else if (isIntegerType(type))
      need(decodeIntegers(type, read, count).length === count, `the numbers of ${name}`)
    if (shape.length > 0 && shape[0] > 0) {
      const row = archive.readRows(name, 0, 1)
      need(row.length <= bytes, `${row.length} bytes of a row of ${name}, which has ${bytes}`)
    }
  })
}

/** Every weight in f32, and the first row of each matrix, which has to be the same. */
export function readWeights({ weights }) {
  forEach(weights.infos.values(), ({ name, shape }) =>
    scope(() => {
      const all = weights.load(name)
      need(all.shape.join() === shape.join(), `${name} of shape ${all.shape}, which has ${shape}`)
      if (shape.length !== 2 || shape[0] === 0) return
      const row = weights.slice(name, 0, 1).toArray()
      const first = all.toArray().subarray(0, shape[1])
      need(
        row.every((value, i) => Object.is(value, first[i])),
        `the first row of ${name} alone is another one`,
      )
    }),
  )
}
