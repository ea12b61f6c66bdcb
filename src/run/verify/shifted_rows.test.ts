/** GPTQ folders beside their source: zeros of another version, where every weight moves by one step, and a lost row. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeWideModel } from '../../models/write/sources.suite.ts'
import { compress } from '../compress.ts'
import { verify } from './verify.ts'
import { verificationLines } from './verify_result.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-shifted-'))
const source = join(folder, 'wide')
beforeAll(() => void writeWideModel(source))
afterAll(() => rmSync(folder, { recursive: true }))

/** Fields of the zeros of a layer, moved by `by`; a field that is full begins anew. */
function moveZeros(path: string, layer: string, { bits, by }: { bits: number; by: number }): void {
  const file = join(path, 'model.safetensors')
  const whole = readFileSync(file)
  const header = Number(whole.readBigUInt64LE(0))
  const [start, end] = JSON.parse(whole.toString('utf8', 8, 8 + header))[`${layer}.qzeros`].data_offsets
  const least = 2 ** bits - 1
  for (let at = 8 + header + start; at < 8 + header + end; at++) {
    let byte = 0
    for (let field = 0; field < 8; field += bits) byte |= (((whole[at]! >> field) + by) & least) << field
    whole[at] = byte
  }
  writeFileSync(file, whole)
}

test.each([
  [4, 32],
  [4, 'row'],
  [8, 32],
  [8, 'row'],
] as const)(
  '%i bits, groups of %s: sound zeros pass beside the source, others do not',
  async (bits, groupSize) => {
    const output = join(folder, `out-${bits}-${groupSize}`)
    const options = {
      source,
      output,
      target: 'gptq',
      method: 'rtn',
      bits,
      groupSize,
      symmetric: false,
    } as const
    await compress({ ...options, evaluate: false, probe: false, verify: false })
    // What a report knows would tell at once.
    rmSync(join(output, 'report.json'))
    const sound = await verify({ path: output, source })
    expect(sound.passed, verificationLines(sound).join('\n')).toBe(true)
    for (const by of [1, -1]) {
      const copy = join(folder, 'copy')
      cpSync(output, copy, { recursive: true })
      moveZeros(copy, 'model.layers.0.mlp.up_proj', { bits, by })
      const { checks } = await verify({ path: copy, source })
      const { faults } = checks.find(({ name }) => name === 'weights')!
      expect(faults.join('\n')).toMatch(
        /up_proj\.weight: (?:has rows that are moved as a whole|is .* from the source)/,
      )
      rmSync(copy, { recursive: true })
    }
  },
)

test('a row that became zeros is not that of the source, however little of the matrix it is', async () => {
  const output = join(folder, 'zeroed')
  const options = { source, output, target: 'gptq', method: 'rtn', bits: 4, groupSize: 'row' } as const
  await compress({ ...options, evaluate: false, probe: false, verify: false })
  rmSync(join(output, 'report.json'))
  const file = join(output, 'model.safetensors')
  const whole = readFileSync(file)
  const header = Number(whole.readBigUInt64LE(0))
  const tensors = JSON.parse(whole.toString('utf8', 8, 8 + header))
  whole.writeUInt16LE(0, 8 + header + tensors['model.layers.0.mlp.up_proj.scales'].data_offsets[0] + 10)
  writeFileSync(file, whole)
  const { checks } = await verify({ path: output, source })
  expect(checks.find(({ name }) => name === 'weights')!.faults.join('\n')).toMatch(
    /up_proj\.weight: has a row that is not that of the source \(their cosine is 0\.00\)/,
  )
})
