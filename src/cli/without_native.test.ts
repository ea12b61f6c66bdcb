/** A copy of Pare without its native core: what reads headers works, the rest says in one line what to do. */
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { platformName } from '../tensor/binding.ts'
import { jsonError, pare, root, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const program = join(folder, 'bin', 'pare.js')
const model = join(folder, 'tiny.gguf')
const huggingFace = join(folder, 'hf')
beforeAll(() => {
  for (const part of ['bin', 'dist', 'package.json', 'src/calibrate/text']) {
    mkdirSync(join(folder, part, '..'), { recursive: true })
    cpSync(join(root, part), join(folder, part), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeTinyGguf(model)
  writeTinyFolder(huggingFace)
})

test('plan gives the plan that it gives with the core, all but the time, from and to every format', () => {
  for (const source of [model, huggingFace]) {
    for (const args of [
      ['--target', 'gguf', '--scheme', 'Q8_0'],
      ['--target', 'gptq', '--group-size', '32'],
      ['--target', 'pare'],
    ]) {
      const without = pare(['plan', source, ...args, '--json'], { program })
      expect(without.code, without.stderr).toBe(0)
      const { secondsMissing, ...plan } = JSON.parse(without.stdout)
      expect(secondsMissing).toMatch(/without the native core/)
      const { seconds, ...measured } = JSON.parse(pare(['plan', source, ...args, '--json']).stdout)
      expect(plan).toEqual(measured)
      expect(seconds.to).toBeGreaterThan(seconds.from)
    }
  }
})
test('inspect and pull work', () => {
  for (const source of [model, huggingFace]) {
    expect(pare(['inspect', source, '--json'], { program }).stdout).toBe(
      pare(['inspect', source, '--json']).stdout,
    )
    const { code, stdout } = pare(['pull', source], { program })
    expect([code, stdout]).toEqual([0, `${source}\n`])
  }
})
test('doctor names the missing core and its fix', () => {
  const { stdout } = pare(['doctor', '--json'], { program })
  const core = JSON.parse(stdout).find(({ subject }: { subject: string }) => subject === 'native core')
  expect(core).toMatchObject({ ok: false, fix: expect.stringMatching(/npm run build.*@pare\/native-/) })
  expect(
    JSON.parse(pare(['doctor', '--json']).stdout).find(
      ({ subject }: { subject: string }) => subject === 'native core',
    ).ok,
  ).toBe(true)
})
test('compress and eval end with exit code 1 and the fix in one line', () => {
  for (const args of [
    ['compress', model, '--output', join(folder, 'out')],
    ['eval', model],
  ]) {
    const outcome = pare([...args, '--json'], { program })
    expect(outcome.code).toBe(1)
    expect(jsonError(outcome).code).toBe('PARE_E_NATIVE_MISSING')
    const { stderr } = pare(args, { program })
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toMatch(/npm run build/)
  }
})
test('a platform package is found, and one of another version or without a core is refused with the fix', () => {
  const home = join(folder, 'dist', 'node_modules', '@pare', `native-${platformName()}`)
  mkdirSync(home, { recursive: true })
  const put = (main: string, content: string) => {
    writeFileSync(join(home, 'package.json'), JSON.stringify({ main }))
    writeFileSync(join(home, main), content)
    return pare(['eval', model, '--json'], { program })
  }
  try {
    const old = put('index.cjs', "exports.version = () => '0.0.1'")
    expect([old.code, jsonError(old).message]).toEqual([
      1,
      expect.stringMatching(/version 0\.0\.1 does not fit.*install/),
    ])
    const broken = put('core.node', 'this is no library')
    expect([broken.code, jsonError(broken).message]).toEqual([1, expect.stringMatching(/does not load/)])
    cpSync(join(root, 'native', `pare.${platformName()}.node`), join(home, 'pare.node'))
    writeFileSync(join(home, 'package.json'), JSON.stringify({ main: 'pare.node' }))
    const { code, stderr } = pare(['eval', model, '--context', '32', '--windows', '1'], { program })
    expect(code, stderr).toBe(0)
  } finally {
    rmSync(join(folder, 'dist', 'node_modules'), { recursive: true })
  }
})
test('where nothing is compiled at all, the program says so in one line', () => {
  cpSync(join(root, 'bin'), join(folder, 'clone', 'bin'), { recursive: true })
  const { code, stderr } = pare(['doctor'], { program: join(folder, 'clone', 'bin', 'pare.js') })
  expect(code).toBe(1)
  expect(stderr.trim().split('\n')).toHaveLength(1)
  expect(stderr).toMatch(/npm run build/)
})
