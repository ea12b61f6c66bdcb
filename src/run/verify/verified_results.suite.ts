/** Small results of three targets, and damage to them; for tests of their verification. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { openSafetensors } from '../../formats/safetensors/safetensors.ts'
import { fixturePath } from '../../models/llama/fixtures.suite.ts'
import { compress } from '../compress.ts'
import type { CompressOptions } from '../compress_options.ts'
import type { CompressionReport } from '../report.ts'
import { smallRun, writeText } from '../small_run.suite.ts'
import type { Check, CheckName, Verification } from './verification.ts'

export const source = fixturePath('llama-f16.gguf')

export type ResultName = 'pare' | 'gptq' | 'gguf'

/** Compresses before the tests, into a folder that goes when they are done. */
export function verifiedResults() {
  const folder = mkdtempSync(join(tmpdir(), 'pare-verify-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const outputs = { pare: join(folder, 'pare'), gptq: join(folder, 'gptq'), gguf: join(folder, 'gguf') }
  const reports = new Map<string, CompressionReport>()
  beforeAll(async () => {
    const text = writeText(join(folder, 'text.txt'))
    const { bits: _, groupSize: __, ...run } = smallRun(text, '')
    const options: Record<ResultName, Partial<CompressOptions>> = {
      pare: { target: 'pare', bits: 4, groupSize: 16 },
      // The rows of k and v are too few for its words.
      gptq: { target: 'gptq', bits: 8, groupSize: 16, overrides: [{ match: 're:[kv]_proj', keep: true }] },
      gguf: { target: 'gguf', scheme: 'Q4_0' },
    }
    for (const [name, output] of Object.entries(outputs))
      reports.set(name, await compress({ ...run, output, ...options[name as ResultName] }))
  })

  let copies = 0
  /** A result with something changed in it. */
  function damaged(of: ResultName, change: (path: string) => void): string {
    const path = join(folder, `copy-${copies++}`)
    cpSync(outputs[of], path, { recursive: true })
    change(path)
    return path
  }
  return { folder, outputs, reports, damaged }
}

export const statuses = ({ checks }: { checks: readonly Check[] }) =>
  Object.fromEntries(checks.map(({ name, status }) => [name, status]))
export const failedOf = (found: Verification): CheckName[] =>
  found.checks.filter(({ status }) => status === 'failed').map(({ name }) => name)
export const faultsOf = ({ checks }: Verification, name: CheckName) =>
  checks.find((check) => check.name === name)!.faults.join('\n')

/** Changes the bytes of one tensor in the weights of a folder. */
export const changeTensor =
  (name: string, change: (bytes: Buffer, shape: readonly number[]) => void) => (path: string) => {
    const file = join(path, 'model.safetensors')
    const archive = openSafetensors(file)
    const bytes = Buffer.from(archive.read(name))
    const { shape } = archive.tensors.get(name)!
    archive.close()
    const whole = readFileSync(file)
    const header = Number(whole.readBigUInt64LE(0))
    const [start] = JSON.parse(whole.toString('utf8', 8, 8 + header))[name].data_offsets
    change(bytes, shape)
    bytes.copy(whole, 8 + header + start)
    writeFileSync(file, whole)
  }
export const q = 'model.layers.0.self_attn.q_proj'
export const flip = (at: number, bits: number) => (bytes: Buffer) => {
  bytes[at]! ^= bits
}
export const swapRows = (bytes: Buffer, [rows]: readonly number[]) => {
  const size = bytes.length / rows!
  const first = Buffer.from(bytes.subarray(0, size))
  bytes.copyWithin(0, 3 * size, 4 * size)
  first.copy(bytes, 3 * size)
}
export const edit = (name: string, change: (text: string) => string) => (path: string) => {
  const file = join(path, name)
  writeFileSync(file, change(readFileSync(file, 'utf8')))
}
