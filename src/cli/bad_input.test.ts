/** Files, texts and places that cannot be used: a typed error with its exit code, and nothing half written. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { gguf } from '../formats/gguf/metadata.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import {
  briefly,
  jsonError,
  type Outcome,
  type ProcessOptions,
  pare,
  root,
  temporaryFolder,
} from './pare_process.suite.ts'
import { writeTinyFolder, writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny.gguf')
const results = join(folder, 'results')
beforeAll(() => {
  chmodSync(folder, 0o755)
  writeTinyGguf(model)
  mkdirSync(results)
})

const compress = (source: string, args: readonly string[] = [], options: ProcessOptions = {}) =>
  pare(['compress', source, '--output', join(results, 'out'), ...briefly, ...args, '--json'], options)

/** The error of a command that must fail, after a look at what it left: nothing, or stages that are kept. */
function failure(outcome: Outcome, exitCode: number, { kept = false } = {}) {
  expect(outcome.code, outcome.stderr).toBe(exitCode)
  expect(outcome.stdout).toBe('')
  if (kept) {
    expect(readdirSync(join(results, 'out'))).toEqual(['.pare'])
    rmSync(join(results, 'out'), { recursive: true })
  }
  expect(readdirSync(results)).toEqual([])
  const error = jsonError(outcome)
  expect(error.exitCode).toBe(exitCode)
  expect(error.code).toMatch(/^PARE_E_(?!INTERNAL)/)
  return error
}
function written(name: string, bytes: Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}
/** The tiny model with eight bytes replaced at a position, or at the first place after some text. */
function patched(name: string, at: number | string, bytes: readonly number[]): string {
  const file = readFileSync(model)
  const position = typeof at === 'number' ? at : file.indexOf(at) + at.length
  file.set(bytes, position)
  return written(name, file)
}
/** 2^60, little-endian. */
const huge = [0, 0, 0, 0, 0, 0, 0, 0x10]

test.each([
  ['tensors', 8],
  ['metadata entries', 16],
  ['bytes of the first key', 24],
  ['bytes of a value', 'general.architecture\u0008\u0000\u0000\u0000'],
  ['inputs of a weight', 'blk.0.attn_q.weight\u0002\u0000\u0000\u0000'],
] as const)('a GGUF header that promises 2^60 %s ends with exit code 1', (what, at) => {
  const path = patched(`${what}.gguf`, at, huge)
  failure(pare(['inspect', path, '--json']), 1)
  failure(compress(path), 1)
})
test('a safetensors header that promises 2^60 bytes ends with exit code 1', () => {
  const source = writeTinyFolder(join(folder, 'lying'))
  const path = join(source, 'model.safetensors')
  const bytes = readFileSync(path)
  bytes.set(huge, 0)
  writeFileSync(path, bytes)
  failure(pare(['inspect', source, '--json']), 1)
  failure(compress(source), 1)
})
test('a file that was cut ends with exit code 1', () => {
  const bytes = readFileSync(model)
  for (const length of [0, 3, 20, 1000, bytes.length - 1000])
    failure(compress(written(`cut${length}.gguf`, bytes.subarray(0, length))), 1)
})
test('something else than a model ends with exit code 1', () => {
  failure(compress(written('text.gguf', new TextEncoder().encode('hello'))), 1)
})
test('an unknown architecture is named; inspect still lists the file and says why', () => {
  const path = writeTinyGguf(join(folder, 'mamba.gguf'), {
    metadata: { 'general.architecture': gguf.string('mamba') },
  })
  expect(failure(compress(path), 1)).toMatchObject({
    code: 'PARE_E_ARCHITECTURE',
    facts: { architecture: 'mamba' },
  })
  failure(pare(['plan', path, '--json']), 1)
  const { code, stdout } = pare(['inspect', path])
  expect(code).toBe(0)
  expect(stdout).toMatch(/cannot compress it: .*mamba/)
})
test('an unknown architecture of a folder is named', () => {
  const source = writeTinyFolder(join(folder, 'gpt'))
  writeFileSync(join(source, 'config.json'), '{"model_type":"gpt_neox"}')
  expect(failure(compress(source), 1).facts.architecture).toBe('gpt_neox')
})
test('an unknown tensor type is refused', () => {
  const at = 'blk.0.attn_q.weight'
  // After the name: axes (4 bytes), two sizes (16), then the type.
  const path = patched(
    'type.gguf',
    `${at}${readFileSync(model, 'latin1').split(at)[1]!.slice(0, 20)}`,
    [99, 0, 0, 0],
  )
  expect(failure(compress(path), 1).message).toMatch(/99/)
})
test('a tokenizer without merges is refused before the work starts', () => {
  const path = writeTinyGguf(join(folder, 'merges.gguf'), {
    metadata: { 'tokenizer.ggml.merges': undefined },
  })
  for (const args of [[], ['--method', 'rtn', '--no-evaluate']])
    expect(failure(compress(path, args), 1).message).toMatch(/merges/)
})
test('a weight of another shape than the header says is refused', () => {
  const path = writeTinyGguf(join(folder, 'heads.gguf'), {
    metadata: { 'llama.attention.head_count': gguf.u32(8) },
  })
  failure(compress(path), 1)
})
test.skipIf(process.platform === 'win32')('a device in place of a text ends at once', () => {
  for (const flag of ['--calib', '--text'])
    expect(failure(compress(model, [flag, '/dev/zero']), 6).code).toBe('PARE_E_CANNOT_READ')
})
test.skipIf(process.platform === 'win32')('a device in place of a model ends at once', () => {
  expect(failure(compress('/dev/zero'), 6).code).toBe('PARE_E_SOURCE_KIND')
})
test('a row of a JSON lines file that is longer than eight million characters ends with exit code 2', () => {
  const rows = written('long.jsonl', new TextEncoder().encode('['.repeat(2 ** 23 + 1)))
  expect(failure(compress(model, ['--calib', rows]), 2).message).toMatch(/a row of more than 8388608/)
})
test('an empty text and a text shorter than a window end with exit code 2', () => {
  const empty = written('empty.txt', new Uint8Array())
  const short = written('short.txt', new TextEncoder().encode('0123456789'))
  for (const flag of ['--calib', '--text']) {
    expect(failure(compress(model, [flag, empty]), 2).code).toBe('PARE_E_EMPTY_TEXT')
    expect(failure(compress(model, [flag, short]), 2)).toMatchObject({
      code: 'PARE_E_SHORT_TEXT',
      facts: { needed: 32, found: 10 },
    })
  }
  expect(failure(pare(['eval', model, '--text', short, '--json']), 2).facts).toMatchObject({
    needed: 512,
    found: 10,
  })
  expect(failure(compress(model, ['--calib', join(folder, 'none.txt')]), 6).code).toBe('PARE_E_CANNOT_READ')
})
test('a row that is neither text nor messages is named by its line', () => {
  const rows = written('rows.jsonl', new TextEncoder().encode('{"text": "a"}\n{"txt": "b"}\n'))
  expect(failure(compress(model, ['--calib', rows]), 1).facts).toMatchObject({ line: 2 })
})

test('a limit on the size of files ends with exit code 5 and leaves no result', ({ skip }) => {
  if (spawnSync('prlimit', ['--version']).status !== 0) skip('prlimit is not installed')
  const output = join(results, 'out')
  const args = [join(root, 'bin', 'pare.js'), 'compress', model, '--output', output, ...briefly, '--json']
  const { status, signal, stdout, stderr } = spawnSync(
    'prlimit',
    ['--fsize=40000', process.execPath, ...args],
    { encoding: 'utf8' },
  )
  expect(failure({ code: status, signal, stdout, stderr }, 5, { kept: true }).code).toBe(
    'PARE_E_FILE_TOO_LARGE',
  )
})
test('a full disk ends with exit code 5, leaves what is finished, and the run goes on when there is room', ({
  skip,
}) => {
  const disk = join(folder, 'disk')
  mkdirSync(disk)
  const mount = (options: string) =>
    spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk], { encoding: 'utf8' })
  const mounted = mount('size=64k')
  if (mounted.status !== 0)
    skip(`no small file system can be mounted here: ${mounted.stderr?.trim() ?? mounted.error?.message}`)
  try {
    for (const args of [
      ['--target', 'gguf'],
      ['--target', 'gptq', '--group-size', '32'],
      ['--target', 'pare'],
    ]) {
      const run = () =>
        pare(['compress', model, '--output', join(disk, 'out'), ...args, ...briefly, '--json'])
      mount('remount,size=64k')
      expect(failure(run(), 5).code).toBe('PARE_E_DISK_FULL')
      for (const name of readdirSync(disk)) expect(readdirSync(join(disk, name))).toEqual(['.pare'])
      mount('remount,size=64m')
      expect(run().code).toBe(0)
      rmSync(join(disk, 'out'), { recursive: true })
    }
  } finally {
    spawnSync('umount', [disk])
  }
})
test('the root of a file system can be the output', ({ skip }) => {
  const disk = join(folder, 'whole')
  mkdirSync(disk)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk], { encoding: 'utf8' })
  if (mounted.status !== 0)
    skip(`no small file system can be mounted here: ${mounted.stderr?.trim() ?? mounted.error?.message}`)
  try {
    const { code, stderr } = pare([
      'compress',
      model,
      '--output',
      disk,
      '--method',
      'rtn',
      ...briefly,
      '--json',
    ])
    expect(code, stderr).toBe(0)
    expect(readdirSync(disk)).toContain('pare.json')
  } finally {
    spawnSync('umount', [disk])
  }
})
test('a place that may not be written ends with exit code 6', ({ skip }) => {
  const locked = join(folder, 'locked')
  mkdirSync(locked, { mode: 0o555 })
  // Nothing is forbidden to root.
  const options = process.getuid?.() === 0 ? { uid: 65534 } : {}
  if (pare(['--version'], options).code !== 0) skip('the user nobody cannot read this copy of Pare')
  const outcome = pare(
    ['compress', model, '--output', join(locked, 'out'), '--method', 'rtn', '--no-evaluate', '--json'],
    options,
  )
  expect(failure(outcome, 6).message).toMatch(/EACCES/)
  expect(readdirSync(locked)).toEqual([])
  const open = join(folder, 'open')
  mkdirSync(open)
  chmodSync(open, 0o777)
  const scratch = pare(
    ['compress', model, '--output', join(open, 'out'), '--scratch', locked, '--json'],
    options,
  )
  expect(failure(scratch, 2).message).toMatch(/--scratch: .*EACCES/)
  const secret = writeTinyGguf(join(folder, 'secret.gguf'))
  chmodSync(secret, 0o000)
  for (const command of ['plan', 'inspect']) failure(pare([command, secret, '--json'], options), 6)
})
test('an output below a file ends with exit code 6', () => {
  const outcome = pare([
    'compress',
    model,
    '--method',
    'rtn',
    '--no-evaluate',
    '--output',
    join(model, 'out'),
    '--json',
  ])
  failure(outcome, 6)
})

/** Control characters but line breaks: what could steer a terminal. */
const steering = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/
const escapes = '\u001b]0;owned\u0007\u009b2J\u202e'

test('names, metadata and tokens with escapes and markup never reach the terminal, the page or the model card raw', () => {
  const path = writeTinyGguf(join(folder, 'a<img src=x>|`b.gguf'), {
    metadata: { 'general.name': gguf.string(escapes), [`x.${escapes}`]: gguf.string('<script>') },
    extraTokens: [escapes, '<script>alert(1)</script>', '| `x` |'],
  })
  for (const args of [
    ['inspect', path],
    ['inspect', path, '--json'],
    ['plan', path, '--tensors'],
    ['plan', path, '--json'],
  ]) {
    const { code, stdout, stderr } = pare(args)
    expect(code, stderr).toBe(0)
    expect(stdout + stderr).not.toMatch(steering)
  }
  for (const target of [
    ['--target', 'gguf'],
    ['--target', 'pare'],
  ]) {
    const output = join(folder, `escaped${target[1]}`)
    const { code, stdout, stderr } = pare(['compress', path, ...target, '--output', output, ...briefly])
    expect(code, stderr).toBe(0)
    expect(stdout + stderr).not.toMatch(steering)
    const card = readFileSync(join(output, 'README.md'), 'utf8')
    expect(card).not.toMatch(steering)
    expect(card.replace(/^---.*?^---/ms, '')).not.toMatch(/<img|<script/)
    const page = readFileSync(join(output, 'report.html'), 'utf8')
    expect(page).not.toMatch(steering)
    expect(page).not.toMatch(/<img|<script/)
    expect(existsSync(join(output, 'report.json'))).toBe(true)
  }
})
test('a tensor whose name has escapes is refused without them', () => {
  const source = writeTinyFolder(join(folder, 'escapes'))
  const writer = createSafetensors(join(source, 'model.safetensors'), [
    { name: escapes, type: 'F32', shape: [1] },
  ])
  writer.append(escapes, new Uint8Array(4))
  writer.finish()
  for (const args of [
    ['inspect', source],
    ['inspect', source, '--json'],
    ['plan', source, '--tensors'],
    ['eval', source],
  ]) {
    const { stdout, stderr } = pare(args)
    expect(stdout + stderr).not.toMatch(steering)
    expect(stdout + stderr).not.toMatch(/defect of Pare/)
  }
})
