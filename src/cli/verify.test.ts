import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { jsonError, pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const [source, output] = [join(folder, 'tiny.gguf'), join(folder, 'out')]
beforeAll(() => {
  writeTinyGguf(source)
  const made = pare([
    'compress',
    source,
    '--method',
    'rtn',
    '--bits',
    '8',
    '--no-evaluate',
    '--no-probe',
    '--output',
    output,
  ])
  expect(made.code, made.stderr).toBe(0)
})
const copy = (name: string) => {
  const path = join(folder, name)
  cpSync(output, path, { recursive: true })
  return path
}

test('a line a check, and exit code 0', () => {
  const { code, stdout } = pare(['verify', output, '--source', source])
  expect(code).toBe(0)
  expect(stdout.trim().split('\n')).toEqual([
    expect.stringMatching(
      /^files {9}same {9}\d+ files are there, \d+ of them \(\d+ bytes\) hold what the report says$/,
    ),
    expect.stringMatching(
      /^weights {7}as computed {2}20 of 20 read, all finite; 14 of 14 as they were computed; /,
    ),
    expect.stringMatching(/^configuration same {9}shapes, norms and positions/),
    expect.stringMatching(
      /^logits {8}within bound 64 tokens: largest difference .* at most 5.86% for 8 bits$/,
    ),
    expect.stringMatching(/^tokens {8}same {9}\d+ ids of a text in many scripts are those of the source$/),
    expect.stringMatching(/^template {6}same {9}none in either$/),
  ])
})
test('of a folder without a report it says that the weights were read, and that nothing was compared', () => {
  const path = copy('without-report')
  rmSync(join(path, 'report.json'))
  const { code, stdout } = pare(['verify', path])
  expect(code).toBe(0)
  const lines = stdout.trim().split('\n')
  expect(lines[0]).toBe('files         skipped      no report.json')
  expect(lines[1]).toMatch(/^weights {7}read only {4}20 of 20 read, all finite$/)
  expect(lines.at(-1)).toMatch(/^Nothing was compared: .*--source/)
  expect(pare(['verify', path, '--source', source]).stdout).not.toContain('Nothing was compared')
})
test('a copy that lost its weights fails the check of files, which names them', () => {
  const path = copy('without-weights')
  rmSync(join(path, 'model.safetensors'))
  const { code, stdout, stderr } = pare(['verify', path])
  expect(code).toBe(4)
  expect(stdout).toMatch(/^files {9}FAILED /)
  expect(stderr).toContain('model.safetensors: is missing')
})
test('a check that fails is named, in exit code 4 and in JSON', () => {
  const path = copy('damaged')
  const file = join(path, 'model.safetensors')
  const bytes = readFileSync(file)
  const header = Number(bytes.readBigUInt64LE(0))
  const name = 'model.layers.1.self_attn.k_proj.weight.codes'
  const [start] = JSON.parse(bytes.toString('utf8', 8, 8 + header))[name].data_offsets
  bytes[8 + header + start]! ^= 1
  writeFileSync(file, bytes)
  const plain = pare(['verify', path])
  expect(plain.code).toBe(4)
  expect(plain.stdout).toMatch(/^weights {7}FAILED /m)
  expect(plain.stdout).toContain(
    'model.layers.1.self_attn.k_proj.weight: holds other values than were computed',
  )
  const outcome = pare(['verify', path, '--json'])
  expect(outcome.code).toBe(4)
  const { passed, checks } = JSON.parse(outcome.stdout)
  expect(passed).toBe(false)
  expect(checks.map(({ name, status }: { name: string; status: string }) => [name, status])).toEqual([
    ['files', 'failed'],
    ['weights', 'failed'],
    ['logits', expect.stringMatching(/passed|failed/)],
    ['tokens', 'passed'],
    ['template', 'passed'],
  ])
  expect(jsonError(outcome)).toMatchObject({ code: 'PARE_E_VERIFY', exitCode: 4 })
  expect(jsonError(outcome).facts.failed).toEqual(expect.arrayContaining(['files', 'weights']))
})
test('what cannot be read ends with exit code 1, what is not there with 6', () => {
  const path = copy('cut')
  writeFileSync(join(path, 'model.safetensors'), 'short')
  expect(pare(['verify', path]).code).toBe(1)
  expect(pare(['verify', join(folder, 'nothing')]).code).toBe(6)
  expect(pare(['verify', output, '--source', join(folder, 'nothing')]).code).toBe(6)
})
test('a name with control characters is printed as text', () => {
  const path = copy('hostile')
  const report = JSON.parse(readFileSync(join(path, 'report.json'), 'utf8'))
  report.files.push('\u001b[2Jcleared')
  writeFileSync(join(path, 'report.json'), JSON.stringify(report))
  const { code, stdout, stderr } = pare(['verify', path])
  expect(code).toBe(4)
  expect(stdout).toContain('\\u{1b}[2Jcleared: is missing')
  expect(stdout + stderr).not.toContain('\u001b')
})
