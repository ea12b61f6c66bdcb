// Writes models as ONNX folders with Pare, and counts checks. Pare must be built.
import { mkdirSync } from 'node:fs'
import { planOnnx } from '../../dist/models/write/onnx_target.js'
import { affineGrid } from '../../dist/nn/grid.js'
import { writeInBlocks } from '../../dist/run/numbers_in_blocks.js'

const levels = (bits, symmetric = true) => affineGrid({ bits, groupSize: 32, symmetric })

/** What an export is asked to be. */
export const kinds = {
  f32: {},
  f16: { type: 'F16' },
  'f16 arithmetic': { activations: 'F16' },
  q4: { grid: levels(4) },
  'q4 with zeros': { grid: levels(4, false) },
  q8: { grid: levels(8) },
  'q4 and f16': { type: 'F16', grid: levels(4) },
  q4f16: { activations: 'F16', grid: levels(4) },
}

/** Writes a model; matrices on a grid are rounded to nearest. */
export function writeExport({ source, weights }, folder, options) {
  const plan = planOnnx(source, options)
  plan.check()
  writePlan(plan, weights, folder)
}

export function writePlan(plan, weights, folder) {
  mkdirSync(folder, { recursive: true })
  const writer = plan.create(folder)
  for (const tensor of plan.tensors) writeInBlocks(plan, tensor, weights, writer)
  writer.finish()
}

let [passed, failed] = [0, 0]

/** One line a check. */
export function check(title, holds, detail = '') {
  holds ? passed++ : failed++
  process.stdout.write(`${holds ? 'ok     ' : 'FAILED '} ${title}${detail === '' ? '' : `: ${detail}`}\n`)
}

/** The last line, and the exit status. */
export function finish() {
  process.stdout.write(`${passed} passed, ${failed} failed\n`)
  process.exitCode = failed === 0 ? 0 : 1
}

/** Largest difference over the largest magnitude of what is expected. */
export function farthest(found, expected) {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY
  let [distance, largest] = [0, 0]
  for (const [i, value] of expected.entries()) {
    const off = Math.abs(found[i] - value)
    if (!(off <= distance)) distance = off
    largest = Math.max(largest, Math.abs(value))
  }
  return distance / largest
}
