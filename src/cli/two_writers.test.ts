/** Two processes at one output: the lock is the system's, so that it goes with the process that holds it. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { callNative } from '../tensor/native.ts'
import { jsonError, pare, startPare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = writeTinyGguf(join(folder, 'tiny.gguf'))
const compress = (output: string) => [
  'compress',
  model,
  '--method',
  'rtn',
  '--no-evaluate',
  '--no-probe',
  '--output',
  output,
  '--json',
]

test('an output that another process holds is refused with exit code 3, untouched, until it lets go', () => {
  const output = join(folder, 'held')
  mkdirSync(join(output, '.pare'), { recursive: true })
  const lock = callNative((native) => native.tryLockFile(join(output, '.pare/lock')))!
  const refused = pare(compress(output))
  expect([refused.code, jsonError(refused).code]).toEqual([3, 'PARE_E_RUN_LOCKED'])
  expect([readdirSync(output), readdirSync(join(output, '.pare'))]).toEqual([['.pare'], ['lock']])
  callNative((native) => native.unlockFile(lock))
  const { code, stderr } = pare(compress(output))
  expect(code, stderr).toBe(0)
})
test('of processes that begin at once each ends with the whole result or with exit code 3', async () => {
  const output = join(folder, 'raced')
  const all = await Promise.all(Array.from({ length: 3 }, () => startPare(compress(output)).outcome))
  for (const { code, stderr } of all) expect([0, 3], stderr).toContain(code)
  expect(all.map(({ code }) => code)).toContain(0)
  expect(existsSync(join(output, '.pare'))).toBe(false)
  expect(readdirSync(output)).toContain('model.safetensors')
})
test('a process that is killed holds nothing', async () => {
  const output = join(folder, 'killed')
  const { child, outcome } = startPare(compress(output).filter((arg) => arg !== '--method' && arg !== 'rtn'))
  while (!existsSync(join(output, '.pare/lock'))) await new Promise((done) => setTimeout(done, 5))
  child.kill('SIGKILL')
  expect((await outcome).signal).toBe('SIGKILL')
  const { code, stderr } = pare(compress(output).filter((arg) => arg !== '--method' && arg !== 'rtn'))
  expect(code, stderr).toBe(0)
})
