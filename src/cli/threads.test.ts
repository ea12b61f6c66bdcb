/** PARE_THREADS: how many threads compute where --threads does not say. PARE_SIMD: what their kernels may use. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { jsonError, pare, root, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
beforeAll(() => {
  writeTinyGguf(model)
})

const evaluated = (threads: string, ...args: string[]) =>
  pare(['eval', model, '--context', '32', '--windows', '1', '--json', ...args], {
    env: { PARE_THREADS: threads },
  })
const doctor = (threads: string) =>
  JSON.parse(pare(['doctor', '--json'], { env: { PARE_THREADS: threads } }).stdout).find(
    ({ subject }: { subject: string }) => subject === 'threads',
  )

test.each(['abc', '0', '-1', '1e9', '1025', '2.5'])(
  'PARE_THREADS=%s ends with exit code 2 and says what is needed, what was found and the way out',
  (threads) => {
    const outcome = evaluated(threads)
    expect([outcome.code, outcome.stdout]).toEqual([2, ''])
    expect(jsonError(outcome)).toMatchObject({
      code: 'PARE_E_OPTION',
      exitCode: 2,
      message: `PARE_THREADS: needs a whole number from 1 to 1024, got ${threads}; leave it out to use all cores`,
    })
  },
)
test('a compression ends likewise, with and without calibration, and leaves nothing', () => {
  const output = join(folder, 'out')
  for (const method of [
    ['--method', 'rtn', '--no-evaluate'],
    ['--samples', '4', '--length', '32'],
  ]) {
    const outcome = pare(['compress', model, '--output', output, ...method, '--json'], {
      env: { PARE_THREADS: 'many' },
    })
    expect([outcome.code, jsonError(outcome).code], outcome.stderr).toEqual([2, 'PARE_E_OPTION'])
    expect(existsSync(output)).toBe(false)
  }
})
test('--threads comes first, and an empty PARE_THREADS is none', () => {
  for (const outcome of [evaluated('abc', '--threads', '1'), evaluated('')])
    expect(outcome.code, outcome.stderr).toBe(0)
})
test('--threads above 1024 is named as the flag', () => {
  const { code, stderr } = pare(['eval', model, '--threads', '99999'])
  expect([code, stderr]).toEqual([
    2,
    expect.stringContaining('--threads: a whole number from 1 to 1024 is needed, got 99999'),
  ])
})
test('from code it is an OptionError, at the first work that several threads would share', () => {
  const module = pathToFileURL(join(root, 'dist', 'tensor', 'index.js')).href
  const script = `
    import { fromBytes, tensor } from '${module}'
    fromBytes(new Uint8Array(4), [1], 'f32')
    try { tensor(new Float32Array(1e6), [1e6], 'bf16') } catch (error) { console.log(error.name, error.code) }`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, PARE_THREADS: 'abc' },
  })
  expect(stdout, stderr).toBe('OptionError PARE_E_OPTION\n')
})
test('doctor shows the threads, or what is wrong with PARE_THREADS', () => {
  expect(doctor('3')).toEqual({ subject: 'threads', ok: true, found: '3' })
  expect(doctor('abc')).toEqual({
    subject: 'threads',
    ok: false,
    found: 'PARE_THREADS: needs a whole number from 1 to 1024, got abc',
    fix: 'leave it out to use all cores',
  })
})
test('control characters of PARE_THREADS do not reach the terminal', () => {
  const { stderr } = pare(['eval', model], { env: { PARE_THREADS: '\u001b[2J\u009b\u202e' } })
  expect(stderr).toMatch(/PARE_THREADS/)
  expect(stderr).not.toMatch(/[\u001b\u009b\u202e]/)
})

test.each(['sse9', 'AVX2', ' '])('PARE_SIMD=%j ends likewise, and doctor says so', (PARE_SIMD) => {
  const outcome = pare(['eval', model, '--json'], { env: { PARE_SIMD } })
  expect([outcome.code, outcome.stdout]).toEqual([2, ''])
  expect(jsonError(outcome)).toMatchObject({
    code: 'PARE_E_OPTION',
    message: `PARE_SIMD: needs one of portable, avx2, avx512, got ${PARE_SIMD}; leave it out to use what the machine has`,
  })
  expect(JSON.parse(pare(['doctor', '--json'], { env: { PARE_SIMD } }).stdout)).toContainEqual({
    subject: 'native core',
    ok: false,
    found: `PARE_SIMD: needs one of portable, avx2, avx512, got ${PARE_SIMD}`,
    fix: 'leave it out to use what the machine has',
  })
})
