/** Half floats of which a method made every second value zero, as pruning does. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openModel } from '../../models/load_model.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { writeWideModel } from '../../models/write/sources.suite.ts'
import { scope } from '../../tensor/index.ts'
import { digestOf, type ValueDigest } from './value_digest.ts'
import type { Verification, VerificationRecord } from './verification.ts'
import { verificationLines, verifyResult } from './verify_result.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-changed-'))
afterAll(() => rmSync(folder, { recursive: true }))
const names = ['q_proj', 'k_proj', 'v_proj', 'o_proj'].map(
  (part) => `model.layers.0.self_attn.${part}.weight`,
)
const pruned = join(folder, 'pruned')
let source: OpenModel
let digests: Map<string, ValueDigest>
beforeAll(() => {
  source = openModel(writeWideModel(join(folder, 'source'), { type: 'F16' }))
  cpSync(join(folder, 'source'), pruned, { recursive: true })
  changeValues(pruned, names, (halves) => {
    for (let i = 0; i < halves.length; i += 2) halves[i] = 0
  })
  digests = digestsIn(pruned, names)
})
afterAll(() => source.close())

/** Changes half floats in the file of a folder. */
function changeValues(path: string, which: readonly string[], change: (halves: Uint16Array) => void): void {
  const file = join(path, 'model.safetensors')
  const whole = readFileSync(file)
  const header = Number(whole.readBigUInt64LE(0))
  const tensors = JSON.parse(whole.toString('utf8', 8, 8 + header))
  for (const name of which) {
    const [start, end] = tensors[name].data_offsets.map((offset: number) => 8 + header + offset)
    const halves = new Uint16Array(new Uint8Array(whole.subarray(start, end)).buffer)
    change(halves)
    Buffer.from(halves.buffer).copy(whole, start)
  }
  writeFileSync(file, whole)
}
function digestsIn(path: string, which: readonly string[]): Map<string, ValueDigest> {
  const open = openModel(path)
  const found = new Map(
    which.map((name) => [name, scope(() => digestOf(open.weights.load(name), { sketch: false }))]),
  )
  open.close()
  return found
}
let copies = 0
function damaged(which: string, change: (halves: Uint16Array) => void): string {
  const path = join(folder, `copy-${copies++}`)
  cpSync(pruned, path, { recursive: true })
  changeValues(path, [which], change)
  return path
}
const checkIn = ({ checks }: Verification, name: string) => checks.find((check) => check.name === name)!
/** What an earlier verification recorded. */
const recordOf = async (): Promise<VerificationRecord> =>
  (await verifyResult({ path: pruned, source, digests })).record

test('pass as they were computed, and their logits have no bound but the figures', async () => {
  const found = await verifyResult({ path: pruned, source, digests })
  expect(found.passed, verificationLines(found).join('\n')).toBe(true)
  expect(checkIn(found, 'weights').facts).toMatchObject({ digests: 4, same: 4 })
  const logits = checkIn(found, 'logits')
  expect(logits.status).toBe('unbounded')
  expect(logits.text).toMatch(/4 weights were changed by their method, at most by 7\d\.\d% \(model\.layers/)
})
test('fail against the source where nobody says that they were computed', async () => {
  const found = await verifyResult({ path: pruned, source })
  expect(checkIn(found, 'weights').faults).toHaveLength(4)
  expect(checkIn(found, 'weights').faults[0]).toMatch(/F16 for F16 allow 0\.00%/)
  expect(checkIn(found, 'logits').status).toBe('failed')
})
test('fail where one value is another than was computed, a zero that came back too', async () => {
  for (const at of [0, 1]) {
    const path = damaged(names[1]!, (halves) => {
      halves[at]! ^= 1
    })
    const found = await verifyResult({ path, source, digests })
    expect(checkIn(found, 'weights').faults.join('\n')).toMatch(/k_proj\.weight: holds other values/)
  }
})
test('leave every other weight with its bound', async () => {
  const path = damaged('model.layers.0.mlp.up_proj.weight', (halves) => halves.fill(0, 0, 256))
  const found = await verifyResult({ path, source, digests })
  expect(checkIn(found, 'weights').faults.join('\n')).toMatch(/up_proj\.weight: is .* from the source/)
})
test('have the logits that the report knows, beside the source too', async () => {
  const record = await recordOf()
  expect((await verifyResult({ path: pruned, source, digests, record })).passed).toBe(true)
  const logits = { ...record.logits!, logSums: record.logits!.logSums.map((sum) => sum + 0.1) }
  const found = await verifyResult({ path: pruned, source, digests, record: { ...record, logits } })
  expect(checkIn(found, 'logits').faults.join('\n')).toMatch(/from those of the report/)
})
test('no weight counts as changed that was only stored', async () => {
  // One that was computed, and nothing else: what moves the logits then is damage.
  const path = join(folder, 'same')
  cpSync(join(folder, 'source'), path, { recursive: true })
  changeValues(path, ['model.norm.weight'], (halves) => halves.reverse())
  const found = await verifyResult({ path, source, digests: digestsIn(path, names) })
  expect(checkIn(found, 'weights').facts).toMatchObject({ same: 4 })
  expect(found.passed).toBe(false)
  expect(checkIn(found, 'logits').status).toBe('failed')
})
